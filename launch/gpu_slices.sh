#!/usr/bin/env bash
# A lent GPU in slices of at most ten minutes, perhaps without a network: what a
# slice brings along, its run, and what came back. See docs/gpu.md.
#
#   bash launch/gpu_slices.sh pack SLICE …   # here: fills gpu_bundle/
#   bash launch/gpu_slices.sh run SLICE …    # there: writes what returns to $OUT
#   bash launch/gpu_slices.sh rows           # here: tables for docs/results.md
#   bash launch/gpu_slices.sh open SLICE …   # here: a workdir of what came back
#
# `run` uses $PYTHON (default: python3), to which the bundle adds what it lacks;
# the others use the environment of this checkout.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ ${1:-} != run ]]; then
  if [[ -z ${PYTHON:-} ]]; then
    # shellcheck source=launch/environment.sh
    source launch/environment.sh
    make_environment metrics
  fi
  exec "$PYTHON" -m videoar_jax.lease "$@"
fi

PYTHON=${PYTHON:-python3}
bundle=gpu_bundle
for word in "$@"; do
  [[ $word != --bundle=* ]] || bundle=${word#--bundle=}
done
if [[ -e $bundle/site.tar.xz ]]; then
  site=$(mktemp -d)
  trap 'rm -rf -- "$site"' EXIT
  "$PYTHON" - "$bundle/site.tar.xz" "$site" <<'EOF'
import sys, tarfile
tarfile.open(sys.argv[1]).extractall(sys.argv[2], filter='data')
EOF
  export PYTHONPATH=$PWD:$site${PYTHONPATH:+:$PYTHONPATH}
fi
"$PYTHON" -m videoar_jax.lease "$@" --spent_s="$SECONDS"
