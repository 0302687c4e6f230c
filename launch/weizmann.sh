#!/usr/bin/env bash
# From clips of real people to generated ones on two CPU cores, in three to four
# hours: tokenizer, a generator by class and one by text, samples, evaluation,
# runs/weizmann/report.html. It is launch/reproduce_ucf101.sh --scale=weizmann.
#
#   bash launch/weizmann.sh DATA            # the whole run
#   bash launch/weizmann.sh DATA --smoke    # a few steps of everything
#
# DATA is a folder of class folders of videos, or of MoCoGAN's strips (frames of
# 64×64 side by side in a picture, <Class>_<number>.jpg). A list trainlist.txt
# in it names the training videos; without one, 5% are held out by name. Where
# the clips come from: docs/weizmann.md.
#
# Run again, it resumes or reuses what is finished. Ctrl-C stops it; training
# saves first. $VIDEOAR_RUNS says where runs go (default: runs).

set -euo pipefail

smoke=()
DATA=
for word in "$@"; do
  case $word in
    --smoke) smoke=(--smoke) ;;
    -*) DATA= && break ;;
    *) DATA=$word ;;
  esac
done
if [[ -z $DATA ]]; then
  echo "usage: bash launch/weizmann.sh DATA [--smoke]" >&2
  exit 2
fi
[[ -d $DATA ]] || {
  echo "error: $DATA is not a folder; give one of class folders of videos" \
    "(docs/weizmann.md says where the clips come from)" >&2
  exit 1
}
exec bash "$(dirname "${BASH_SOURCE[0]}")/reproduce_ucf101.sh" \
  --scale=weizmann --data="$(cd "$DATA" && pwd)" "${smoke[@]}"
