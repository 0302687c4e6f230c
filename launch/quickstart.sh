#!/usr/bin/env bash
# From nothing to generated videos on a laptop's CPU, without a download of
# data: samples a model that comes with the package, then trains a tokenizer and
# a generator on moving shapes, samples each class, evaluates, and writes
# runs/quickstart/report.html.
#
#   bash launch/quickstart.sh            # the whole run
#   bash launch/quickstart.sh --smoke    # a few steps of everything
#
# Run again, it resumes or reuses what is finished. Ctrl-C stops it; training
# saves first. $VIDEOAR_RUNS says where runs go (default: runs).

set -euo pipefail

NUM_VIDEOS=64
NUM_MEASURED=256
NUM_CLIPS=4000
NUM_FRAMES=9
STAGES=9
RUN_NAME=quickstart
VARIANT=
case ${1:-} in
  '') ;;
  --smoke)
    RUN_NAME=quickstart-smoke
    VARIANT=,smoke
    NUM_VIDEOS=16
    NUM_MEASURED=16
    NUM_CLIPS=64
    ;;
  *)
    echo "usage: bash launch/quickstart.sh [--smoke]" >&2
    exit 2
    ;;
esac

# shellcheck source=launch/stages.sh
source "$(dirname "${BASH_SOURCE[0]}")/stages.sh"
start_run "$RUN_NAME"

train() {
  local half=$1
  shift
  videoar train --config="configs/quickstart.py:$half$VARIANT" \
    --workdir="$run/$half" "$@"
}

evaluate() {
  update "$run/$1.json" "$run/$1" evaluate --checkpoint="$run/$1" \
    --data=synthetic --nofvd --split=validation --num_videos="$NUM_MEASURED" \
    --num_frames="$NUM_FRAMES" --out="$run/$1.json"
}

stage 'preparing the environment'
make_environment
follow_report

stage 'sampling a model that comes with the package'
update "$run/first/grid.png" zoo:weizmann4 sample \
  --checkpoint=zoo:weizmann4 --class=all --num_videos=4 --out="$run/first"
echo "open $run/first/grid.webp: people, generated"

stage 'training the tokenizer on single frames'
train image_tokenizer

stage 'training the tokenizer on clips'
train tokenizer --config.init_from="$run/image_tokenizer"

stage 'caching features of the tokenizer'
videoar data.prepare --features --source=synthetic --num_clips="$NUM_CLIPS" \
  --num_frames="$NUM_FRAMES" --height=32 --width=32 \
  --checkpoint="$run/tokenizer" --out="$run/features"

stage 'training the generator'
train generator --config.tokenizer="$run/tokenizer" \
  --config.data.source="features:$run/features"

stage "sampling $NUM_VIDEOS videos"
update "$run/samples/grid.png" "$run/generator" sample \
  --checkpoint="$run/generator" --class=all --num_videos="$NUM_VIDEOS" \
  --out="$run/samples"

stage 'evaluating'
evaluate tokenizer
evaluate generator

stage 'writing the report'
finish_report

echo
echo "done in $(elapsed): open $run/report.html"
