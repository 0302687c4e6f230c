#!/usr/bin/env bash
# What runs at paper scale need on pods: compiles each step ahead of time, for
# TPUs that need not be there, and writes the tables of docs/pods.md and that of
# docs/reproduce.md.
#
#   bash launch/pods.sh            # hours on two cores; the same again goes on
#   bash launch/pods.sh --dry_run
#
# Flags, with their defaults:
#   --out=docs/pods    one JSON file for each row; one that is there is not made
#   --only=            rows whose names match it: --only='L_*'
#   --dry_run          prints the commands, and does nothing

set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=launch/flags.sh
source "$HERE/flags.sh"
cd "$HERE/.."

flag_out=docs/pods flag_only='' flag_dry_run=false
failed=0

# row NAME TOPOLOGY CONFIG [flags …]
row() {
  local name=$1 file=$flag_out/$1.json
  # shellcheck disable=SC2053
  [[ -z $flag_only || $name == $flag_only ]] || return 0
  if [[ -e $file ]]; then
    echo "$name: is there"
    return 0
  fi
  echo "$name: $2"
  run "$PYTHON" -m videoar_jax.train --plan_only --topology="$2" \
    --config="configs/$3" --out="$file" "${@:4}" </dev/null ||
    failed=$((failed + 1))
}

# generator NAME TOPOLOGY CONFIG TOKENIZER [flags …]
generator() {
  row "$1" "$2" "$3" --tokenizer="configs/$4" "${@:5}"
}

# A size of UCF-101's generator on each topology, sharded over half of the chips:
# of what is sharded over all of them, XLA adds gradients up whole.
ucf101() {
  local size=$1 chips name
  while read -r name chips; do
    generator "${size}_${name/:/_}" "$name" "videoar_ucf101.py:$size" \
      tokenizer_ucf101.py --config.mesh.data=2 \
      --config.data.batch_size=$((chips > 64 ? chips : 64))
  done <<'CHIPS'
v5e:4x4 16
v5e:8x8 64
v5e:16x16 256
v5p:2x2x2 8
v5p:4x4x4 64
v6e:4x4 16
v6e:16x16 256
tpu7x:2x2x2 16
CHIPS
  generator "${size}_two_slices" v5e:4x4 "videoar_ucf101.py:$size" \
    tokenizer_ucf101.py --slices=2 --config.mesh.data=4
}

read_flags "$@"
((${#WORDS[@]} == 0)) || refuse "unexpected word ${WORDS[0]}"
dry=$flag_dry_run
PYTHON=python
if ! $dry; then
  # shellcheck source=launch/environment.sh
  source launch/environment.sh
  make_environment plan
  mkdir -p "$flag_out"
fi

ucf101 L
ucf101 4B
# Sharded over all chips, to be compared.
generator L_v5e_8x8_all v5e:8x8 videoar_ucf101.py:L tokenizer_ucf101.py
generator 4B_v5p_4x4x4_all v5p:4x4x4 videoar_ucf101.py:4B tokenizer_ucf101.py
for name in v5e:8x8 v5p:4x4x4 v6e:16x16; do
  batch=64
  [[ $name != v6e* ]] || batch=256
  few=(--config.mesh.data=2 "--config.data.batch_size=$batch")
  generator "XL_${name/:/_}" $name videoar_ucf101.py:XL tokenizer_ucf101.py \
    "${few[@]}"
  for stage in 1 2 3; do
    generator "stage${stage}_${name/:/_}" $name "stage$stage.py:4B" \
      tokenizer_joint.py "${few[@]}"
  done
  row "tokenizer_${name/:/_}" $name tokenizer_ucf101.py \
    --config.data.batch_size=$batch
done
generator stage3_v5p_4x4x4_sequence v5p:4x4x4 stage3.py:4B tokenizer_joint.py \
  --config.mesh.data=2 --config.mesh.fsdp=8 --config.mesh.sequence=4 \
  --config.data.batch_size=64

if ! $dry; then
  "$PYTHON" launch/pods_table.py "$flag_out" docs/pods.md
  "$PYTHON" launch/hours_table.py "$flag_out" docs/reproduce.md
fi
((failed == 0)) || fail "$failed rows failed; see above"
