#!/usr/bin/env bash
# From nothing to generated videos on a laptop's CPU, without a download of
# data: trains a tokenizer and a generator on moving shapes, samples each
# class, evaluates, and writes runs/quickstart/report.html.
#
#   bash launch/quickstart.sh            # the whole run
#   bash launch/quickstart.sh --smoke    # a few steps of everything
#
# Run again, it resumes or reuses what is finished. Ctrl-C stops it; training
# saves first. $VIDEOAR_RUNS says where runs go (default: runs).

set -euo pipefail
trap 'echo; echo "stopped; the same command goes on from here" >&2; exit 130' \
  INT

NUM_VIDEOS=64
NUM_MEASURED=256
NUM_CLIPS=8000
NUM_FRAMES=9
STAGES=8
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

runs=${VIDEOAR_RUNS:-runs}
[[ $runs == /* || -z ${VIDEOAR_RUNS:-} ]] || runs=$PWD/$runs
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=launch/environment.sh
source launch/environment.sh

run=$runs/$RUN_NAME
mkdir -p "$run"
# A second run, and the stages among themselves, share compiled programs.
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-$runs/jax_cache}
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=1
export TF_CPP_MIN_LOG_LEVEL=${TF_CPP_MIN_LOG_LEVEL:-2}

stage_number=0
stage() {
  stage_number=$((stage_number + 1))
  echo
  echo "[$stage_number/$STAGES] $1 … ($(elapsed) since the start)"
}

elapsed() {
  printf '%d:%02d' $((SECONDS / 60)) $((SECONDS % 60))
}

# python -m videoar_jax.<command>, with warnings and errors alone in the log.
videoar() {
  local command=$1 code=0
  shift
  "$PYTHON" -m "videoar_jax.$command" "$@" --verbosity=-1 || code=$?
  if ((code)); then
    # Ctrl-C and SIGTERM need no explanation.
    ((code == 130 || code == 143)) ||
      echo "error: videoar_jax.$command failed ($code), see above" >&2
    exit "$code"
  fi
}

# up_to_date RESULT RUN: whether RESULT is newer than each checkpoint of RUN.
up_to_date() {
  local checkpoint
  [[ -s $1 ]] || return 1
  for checkpoint in "$2"/checkpoints/[0-9]*; do
    [[ $1 -nt $checkpoint ]] || return 1
  done
}

train() {
  local half=$1
  shift
  videoar train --config="configs/quickstart.py:$half$VARIANT" \
    --workdir="$run/$half" "$@"
}

evaluate() {
  if up_to_date "$run/$1.json" "$run/$1"; then
    echo "$run/$1.json is up to date"
  else
    videoar evaluate --checkpoint="$run/$1" --data=synthetic --nofvd \
      --split=validation --num_videos="$NUM_MEASURED" \
      --num_frames="$NUM_FRAMES" --out="$run/$1.json"
  fi
}

stage 'preparing the environment'
make_environment

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
# The contact sheet is what sampling writes last.
if up_to_date "$run/samples/grid.png" "$run/generator"; then
  echo "$run/samples is up to date"
else
  videoar sample --checkpoint="$run/generator" --class=all \
    --num_videos="$NUM_VIDEOS" --out="$run/samples"
fi

stage 'evaluating'
evaluate tokenizer
evaluate generator

stage 'writing the report'
videoar report --run="$run" --out="$run/report.html"

echo
echo "done in $(elapsed): open $run/report.html"
