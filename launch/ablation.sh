#!/usr/bin/env bash
# What each of VideoAR's additions to the generator is worth: one run of UCF-9
# for each row and seed, then a table with means and spread over the seeds.
#
#   bash launch/ablation.sh
#
# Needs the tokenizer and the data of configs/ucf9_cpu.py; these say where they
# are and how much is run, with their defaults:
#
#   DATA=data_cache/ucf9_64 FEATURES=data_cache/ucf9_features
#   TOKENIZER=runs/ucf9/tokenizer OUT=runs/ablation
#   CONFIG=configs/ucf9_cpu.py:generator PROTOCOL=ucf9_train256_17f_64
#   STEPS=3000 SEEDS='0 1 2' ROWS='full learned_positions …' (all below)
#   FVD=1; with 0 nothing is sampled, and only cross-entropy is measured
#
# The same command again goes on where it stopped; the table is of what is there.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=launch/environment.sh
source launch/environment.sh
make_environment metrics

CONFIG=${CONFIG:-configs/ucf9_cpu.py:generator}
DATA=${DATA:-data_cache/ucf9_64}
FEATURES=${FEATURES:-data_cache/ucf9_features}
TOKENIZER=${TOKENIZER:-runs/ucf9/tokenizer}
OUT=${OUT:-runs/ablation}
PROTOCOL=${PROTOCOL:-ucf9_train256_17f_64}
STEPS=${STEPS:-3000}
SEEDS=${SEEDS:-0 1 2}
ROWS=${ROWS:-full learned_positions no_time_ramp no_inheritance no_corruption
  frame_mask guidance_ramp}
FVD=${FVD:-1}

# Prints how a row's training differs from the full one.
changes() {
  case $1 in
    full | guidance_ramp) ;;
    learned_positions) echo --config.transformer.positions=learned ;;
    no_time_ramp) echo --config.corruption.time_ramp=0.0 ;;
    no_inheritance) echo --config.corruption.inherit=False ;;
    no_corruption)
      echo --config.corruption.flip_max=0.0 --config.corruption.inherit=False
      ;;
    frame_mask) echo --config.frame_mask.probability=0.2 ;;
    *)
      echo "error: ROWS: there is no row $1" >&2
      return 1
      ;;
  esac
}

run_row() {
  local row=$1 seed=$2 trained options
  options=$(changes "$row")
  # Guidance is chosen at sampling: the run is the full one.
  trained=$OUT/${row/guidance_ramp/full}_$seed
  # shellcheck disable=SC2086
  "$PYTHON" -m videoar_jax.train --config="$CONFIG" \
    --config.data.source="features:$FEATURES" --config.tokenizer="$TOKENIZER" \
    --config.train.num_steps="$STEPS" --config.seed="$seed" \
    --config.train.sample_every=0 --workdir="$trained" $options
  if [[ $row != guidance_ramp && ! -e $OUT/${row}_$seed.exposure.json ]]; then
    "$PYTHON" -m videoar_jax.evaluate exposure --checkpoint="$trained" \
      --data="array_record:$DATA" --num_videos=192 --split=validation \
      --out="$OUT/${row}_$seed.exposure.json"
  fi
  if [[ $FVD == 1 && ! -e $OUT/${row}_$seed.json ]]; then
    options=
    [[ $row != guidance_ramp ]] || options=--guidance=1:2:4
    # shellcheck disable=SC2086
    "$PYTHON" -m videoar_jax.evaluate --checkpoint="$trained" \
      --data="array_record:$DATA" --protocol="$PROTOCOL" --seed="$seed" \
      --out="$OUT/${row}_$seed.json" $options
  fi
}

mkdir -p "$OUT"
for seed in $SEEDS; do
  for row in $ROWS; do
    run_row "$row" "$seed"
    "$PYTHON" launch/ablation_table.py "$OUT"
  done
done
cat "$OUT/table.md"
