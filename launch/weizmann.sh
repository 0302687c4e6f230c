#!/usr/bin/env bash
# From clips of real people to generated ones on two CPU cores, in three to four
# hours: tokenizer, a generator by class and one by text, samples, evaluation,
# runs/weizmann/report.html.
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

STAGES=11
RUN_NAME=weizmann
VARIANT=
NUM_VIDEOS=64
MEASURED=(--protocol=weizmann4_train256_17f_64)
WINDOWS=24
DATA=
for word in "$@"; do
  case $word in
    --smoke)
      RUN_NAME=weizmann-smoke
      VARIANT=,smoke
      NUM_VIDEOS=4
      MEASURED=(--num_videos=16 --num_frames=17)
      WINDOWS=1
      ;;
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
DATA=$(cd "$DATA" && pwd)

# shellcheck source=launch/stages.sh
source "$(dirname "${BASH_SOURCE[0]}")/stages.sh"
start_run "$RUN_NAME"
clips=$run/clips features=$run/features

train() {
  local half=$1
  shift
  videoar train --config="configs/weizmann_cpu.py:$half$VARIANT" \
    --workdir="$run/$half" "$@"
}

train_generator() {
  local name=$1
  shift
  train "$name" --config.tokenizer="$run/tokenizer" \
    --config.data.source="features:$features" "$@"
}

sample() {
  update "$2/grid.png" "$run/$1" sample --checkpoint="$run/$1" --class=all \
    --num_videos="$NUM_VIDEOS" --out="$2"
}

evaluate() {
  local half=$1
  shift
  update "$run/$half.json" "$run/$half" evaluate --checkpoint="$run/$half" \
    --data="array_record:$clips" "${MEASURED[@]}" --probe --intervals \
    --out="$run/$half.json" "$@"
}

continue_clips() {
  update "$run/continuation.json" "$run/generator" evaluate continuation \
    --checkpoint="$run/generator" --data="array_record:$clips" \
    --save="$run/continued" --out="$run/continuation.json"
}

stage 'preparing the environment'
make_environment metrics
follow_report

stage 'decoding the clips'
if [[ -n $(find "$DATA" -maxdepth 2 \( -iname '*.jpg' -o -iname '*.png' \) \
  -print -quit) ]]; then
  "$PYTHON" launch/strips_to_videos.py "$DATA" "$run/videos"
  DATA=$run/videos
fi
split=()
[[ ! -e $DATA/trainlist.txt ]] || split=(--split_file="$DATA/trainlist.txt")
videoar data.prepare --source="folder:$DATA" "${split[@]}" \
  --height=64 --width=64 --out="$clips"

stage 'training the tokenizer on single frames'
train image_tokenizer --config.data.source="array_record:$clips"

stage 'training the tokenizer on clips'
train tokenizer --config.init_from="$run/image_tokenizer" \
  --config.data.source="array_record:$clips"

stage 'caching features of the tokenizer'
videoar data.prepare --features --source="array_record:$clips" \
  --num_frames=17 --height=64 --width=64 --checkpoint="$run/tokenizer" \
  --windows="$WINDOWS" --flips --out="$features"

stage 'training the generator by class'
train_generator generator

stage 'training the generator by text'
train_generator text_generator --config.init_from="$run/generator"

stage "sampling $NUM_VIDEOS videos of each generator"
sample generator "$run/samples"
sample text_generator "$run/text_samples"

stage 'evaluating (the longest stage after training)'
evaluate tokenizer --baselines
evaluate generator --baselines --memorisation
evaluate text_generator --memorisation --save="$run/text"

stage 'going on from clips of the actors held out'
continue_clips

stage 'writing the report'
finish_report

echo
echo "done in $(elapsed): open $run/report.html"
