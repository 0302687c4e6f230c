#!/usr/bin/env bash
# Makes the environment and runs the test suite; arguments go to pytest.
#
#   bash launch/test.sh                       # everything but the slow tests
#   bash launch/test.sh tests/test_plan.py -k mask
#   bash launch/test.sh -m slow

set -euo pipefail
trap 'exit 130' INT
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=launch/environment.sh
source launch/environment.sh

make_environment metrics,dev
# A test compiles on one core most of its time; -n 0 runs them in one process.
"$PYTHON" -m pytest -n 2 --dist worksteal "$@"
