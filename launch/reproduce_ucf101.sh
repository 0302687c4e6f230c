#!/usr/bin/env bash
# From clips to figures by one command: clips prepared, tokenizer, features,
# generator, samples, rFVD and gFVD, and a file for each figure.
#
#   bash launch/reproduce_ucf101.sh --data=UCF101.rar
#   bash launch/reproduce_ucf101.sh --data=UCF101.rar --dry_run
#   bash launch/reproduce_ucf101.sh --scale=smoke
#
# Run again, it goes on; what is finished is reused while it is newer than what
# it is made of. Ctrl-C and SIGTERM stop it; training saves first.
#
# Flags, with their defaults:
#   --scale=ucf101     or ucf9, weizmann: hours on two cores; smoke: minutes, of
#                      clips that it renders
#   --size=L           of UCF-101's generator: S, B, L, XL, 4B
#   --data=            the clips: UCF-101's archive or folder, else a folder of
#                      class folders; not needed once they are prepared
#   --split_file=      list of training videos, where none is found beside them
#   --images=          ucf101: class folders of pictures to begin with; without,
#                      the tokenizer begins with single frames of the clips
#   --workdir=         a folder, or gs://…; default: runs/SCALE, see $VIDEOAR_RUNS
#   --base=            workdir of another size, whose clips, tokenizer and features
#                      serve here, too
#   --stage=           one stage alone; a dry run names them
#   --tokenizer_flags= --generator_flags=   more words for training, as
#                      '--config.mesh.data=2'
#   --coordinator= --num_processes= --process_id=   several processes, where
#                      nothing else tells (docs/several_hosts.md)
#   --num_workers=0    processes that decode videos in `prepare`
#   --extras=metrics   of setup.py, for the environment; on a GPU metrics,cuda
#   --smoke            a few steps of everything
#   --dry_run          prints the commands, and does nothing

set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=launch/flags.sh
source "$HERE/flags.sh"
# shellcheck source=launch/stages.sh
source "$HERE/stages.sh"

flag_scale=ucf101 flag_size=L flag_data='' flag_split_file='' flag_images=''
flag_workdir='' flag_base='' flag_stage='' flag_tokenizer_flags=''
flag_generator_flags='' flag_coordinator='' flag_num_processes=''
flag_process_id='' flag_num_workers=0 flag_extras=metrics flag_smoke=false
flag_dry_run=false

declare -A config title=(
  [prepare]='preparing the clips'
  [image_tokenizer]='training the tokenizer on single frames'
  [short_tokenizer]='training the tokenizer on short clips'
  [tokenizer]='training the tokenizer on clips'
  [features]='caching features of the tokenizer'
  [generator]='training the generator'
  [text_generator]='training the generator by text'
  [samples]='sampling'
  [text_samples]='sampling by text'
  [rfvd]='measuring reconstructions'
  [gfvd]='measuring samples'
  [text_gfvd]='measuring samples by text'
  [continuation]='going on from clips held out'
  [results]='collecting the figures'
  [report]='writing the report'
)
frames=17 train_list='' measured=() added=()
tokenizers=(image_tokenizer tokenizer) generators=(generator)

# A scale: what kind of clips, configs, size in pixels, windows of a clip whose
# features are cached, videos to look at, how it is measured.

scale_ucf101() {
  kind=ucf101 side=128 windows=(--windows=8 --flips) num_videos=101
  config=(
    [image_tokenizer]=tokenizer_image.py [tokenizer]=tokenizer_ucf101.py
    [generator]=videoar_ucf101.py:$flag_size
  )
  measured=(--protocol=ucf101_train10k_17f_128)
}

scale_ucf9() {
  kind=folder side=64 windows=(--windows=3 --flips) num_videos=36
  train_list=trainlist01.txt
  tokenizers=(image_tokenizer short_tokenizer tokenizer)
  all_of ucf9_cpu.py
  measured=(--protocol=ucf9_train256_17f_64) added=(--baselines)
}

scale_weizmann() {
  kind=folder side=64 windows=(--windows=24 --flips) num_videos=64
  generators=(generator text_generator)
  all_of weizmann_cpu.py
  measured=(--protocol=weizmann4_train256_17f_64)
  added=(--probe --intervals --baselines)
}

scale_smoke() {
  kind=folder side=32 windows=(--windows=2) num_videos=8 frames=9
  flag_smoke=true
  all_of quickstart.py
  measured=(--protocol=smoke_16_9f_32)
}

all_of() {
  local name
  for name in "${tokenizers[@]}" "${generators[@]}"; do
    config[$name]=$1:$name
  done
}

read_flags "$@"
((${#WORDS[@]} == 0)) || refuse "unexpected word ${WORDS[0]}"
needs scale 'ucf101|ucf9|weizmann|smoke' 'ucf101, ucf9, weizmann or smoke'
needs size 'S|B|L|XL|4B' 'S, B, L, XL or 4B'
needs num_workers '[0-9]+' 'a number'
needs extras '[a-z,]+' 'extras of setup.py: metrics,cuda'
[[ -z $flag_images || $flag_scale == ucf101 ]] ||
  refuse "--images: --scale=$flag_scale begins with frames of its clips"
[[ -z $flag_data || $flag_scale != smoke ]] ||
  refuse '--data: --scale=smoke renders its clips; leave it out'
name=$flag_scale few=$flag_smoke
"scale_$flag_scale"
if $few && [[ $flag_scale != smoke ]]; then
  name+=-smoke windows=(--windows=1 --flips) num_videos=4
  measured=(--num_videos=16 "--num_frames=$frames")
fi
job=()
if [[ -n $flag_coordinator$flag_process_id ]]; then
  needs coordinator '.+:[0-9]+' 'HOST:PORT of the first process'
  needs num_processes '[0-9]+' 'how many there are'
  needs process_id '[0-9]+' 'which one this is, from 0'
  job=("--coordinator=$flag_coordinator" "--process_id=$flag_process_id")
fi
[[ -z $flag_num_processes ]] || job+=("--num_processes=$flag_num_processes")

stages=(prepare "${tokenizers[@]}" features rfvd "${generators[@]}" samples gfvd)
[[ -z $flag_base ]] || stages=("${generators[@]}" samples gfvd)
[[ ${#generators[@]} == 1 ]] || stages+=(text_samples text_gfvd continuation)
# Without a protocol there is no figure to collect.
[[ ${measured[*]} != *--protocol* ]] || stages+=(results)
stages+=(report)
if [[ -n $flag_stage ]]; then
  [[ " ${stages[*]} " == *" $flag_stage "* ]] ||
    refuse "--stage=$flag_stage: wanted one of ${stages[*]}"
  stages=("$flag_stage")
fi
STAGES=${#stages[@]}

# What other places than this folder's are named from here.
from_here() {
  if [[ -z $1 || $1 == /* ]] || in_bucket "$1"; then
    echo "$1"
  else
    echo "$PWD/$1"
  fi
}

data=$(from_here "$flag_data") base=$(from_here "$flag_base")
images=$(from_here "$flag_images") split_file=$(from_here "$flag_split_file")
start_run "$name" "$flag_workdir"
base=${base:-$run}
clips=$base/clips features=$base/features
own=$run # what must lie on a disk
! in_bucket "$run" || own=$runs/$name

# Prints the config of a training.
config_of() {
  local file=configs/${config[$1]} joint=:
  [[ $file != *:* ]] || joint=,
  ! $flag_smoke || file+=${joint}smoke
  echo "$file"
}

train() {
  local stage=$1
  shift
  videoar train --config="$(config_of "$stage")" --workdir="$run/$stage" \
    "$@" "${job[@]}"
}

train_tokenizer() {
  local source=array_record:$clips before='' found init=()
  [[ -z $images || $1 != image_tokenizer ]] || source=images:$images
  for found in "${tokenizers[@]}"; do # each begins with the one before
    [[ $found != "$1" ]] || break
    before=$found
  done
  [[ -z $before ]] || init=(--config.init_from="$run/$before")
  # shellcheck disable=SC2086
  train "$1" --config.data.source="$source" "${init[@]}" $flag_tokenizer_flags
}

train_generator() {
  local init=()
  [[ $1 == generator ]] || init=(--config.init_from="$run/generator")
  # shellcheck disable=SC2086
  train "$1" --config.data.source="features:$features" \
    --config.tokenizer="$base/tokenizer" "${init[@]}" $flag_generator_flags
}

cache_features() {
  videoar data.prepare --features --source="array_record:$clips" \
    --num_frames="$frames" --height="$side" --width="$side" \
    --checkpoint="$run/tokenizer" "${windows[@]}" \
    --out="$features" "${job[@]}"
}

# sample GENERATOR FOLDER: some to look at; those measured are never written.
sample() {
  update "$run/$2/grid.png" "$run/$1" sample --checkpoint="$run/$1" \
    --class=all --num_videos="$num_videos" --out="$run/$2" "${job[@]}"
}

evaluate() {
  local half=$1
  shift
  update "$run/$half.json" "$run/$half" evaluate --checkpoint="$run/$half" \
    --data="array_record:$clips" "${measured[@]}" "${added[@]}" "$@" \
    --out="$run/$half.json" "${job[@]}"
}

evaluate_generator() {
  if [[ $flag_scale != weizmann ]]; then
    evaluate "$1"
  elif [[ $1 == generator ]]; then
    evaluate "$1" --memorisation
  else
    added=(--probe --intervals)
    evaluate "$1" --memorisation --save="$run/text"
  fi
}

# python with a script of this folder.
script() {
  if dry; then
    run python "$@"
  else
    attend "$PYTHON" "$@" || exit
  fi
}

check_data() {
  [[ -z $data || -e $data ]] || fail "--data=$flag_data: no such file or folder"
}

prepare() {
  local words=() videos=$data
  if ! dry && { [[ -z $data && $flag_scale != smoke ]] || ((processes > 1)); }
  then
    exists "$clips/manifest.json" ||
      fail "$clips: no clips there yet; prepare them first, on one machine that" \
        'has the videos: --data=… --stage=prepare --num_processes=1'
    echo "$clips is there"
    return
  fi
  if [[ $flag_scale == smoke ]]; then
    videos=$own/videos
    script launch/render_clips.py "$videos"
  elif [[ $kind == folder && -d $data/ucf9_128 ]]; then
    videos=$data/ucf9_128
  elif [[ $kind == folder ]] && has_strips "$data"; then
    videos=$own/videos
    script launch/strips_to_videos.py "$data" "$videos"
  fi
  split_file=${split_file:-$(find_list "$videos")}
  [[ -z $split_file ]] || words+=("--split_file=$split_file")
  ((flag_num_workers == 0)) || words+=("--num_workers=$flag_num_workers")
  videoar data.prepare --source="$kind:${videos:-DATA}" "${words[@]}" \
    --height="$side" --width="$side" --min_frames="$frames" --out="$clips"
}

has_strips() {
  [[ -n $(find "$1" -maxdepth 2 \( -iname '*.jpg' -o -iname '*.png' \) \
    -print -quit 2>/dev/null) ]]
}

# The list of training videos that lies with clips in folders; it must where a
# scale names one, as groups of clips are cut from one video.
find_list() {
  local folder list=${train_list:-trainlist.txt}
  [[ $kind == folder ]] || return 0
  for folder in "$1" "$1/.." "$1/../ucf101_splits"; do
    if [[ -e $folder/$list ]]; then
      echo "$(cd "$folder" && pwd)/$list"
      return
    fi
  done
  [[ -n $train_list ]] || return 0
  dry || fail "$train_list lies neither in $1 nor beside it; give --split_file"
  echo "$train_list"
}

exists() {
  if in_bucket "$1"; then "$PYTHON" launch/look.py exists "$1"; else [[ -e $1 ]]; fi
}

# What was measured, as files of which docs/results.md is made.
collect() {
  local words=(--scale="$flag_scale") halves=(tokenizer "${generators[@]}") half
  [[ $flag_scale != ucf101 ]] || words+=(--size="$flag_size")
  [[ $flag_scale == smoke ]] || words+=(--data=DATA)
  [[ -z $images ]] || words+=(--images=PICTURES)
  [[ -z $flag_base ]] || halves=("${generators[@]}")
  for half in tokenizer generator; do
    variable=flag_${half}_flags
    [[ -z ${!variable} ]] || words+=("--${half}_flags='${!variable}'")
  done
  for half in "${!halves[@]}"; do
    halves[half]="${halves[half]}=$(config_of "${halves[half]}")"
  done
  script launch/results.py collect "$run" "${halves[@]}" \
    --command="bash launch/reproduce_ucf101.sh ${words[*]}"
}

# On the first of several processes alone.
first() {
  if dry || ((process == 0)); then "$@"; fi
}

run_stage() {
  stage "$1: ${title[$1]}"
  case $1 in
    prepare) prepare ;;
    *tokenizer) train_tokenizer "$1" ;;
    features) cache_features ;;
    *generator) train_generator "$1" ;;
    samples) sample generator samples ;;
    text_samples) sample text_generator text_samples ;;
    rfvd) evaluate tokenizer ;;
    gfvd) evaluate_generator generator ;;
    text_gfvd) evaluate_generator text_generator ;;
    continuation)
      update "$run/continuation.json" "$run/generator" evaluate continuation \
        --checkpoint="$run/generator" --data="array_record:$clips" \
        --save="$run/continued" --out="$run/continuation.json" "${job[@]}"
      ;;
    results) first collect ;;
    report) first finish_report ;;
  esac
}

process=${flag_process_id:-0} processes=${flag_num_processes:-1}
if ! dry; then
  check_data
  make_environment "$flag_extras"
  if [[ -z $flag_num_processes ]]; then
    place=$("$PYTHON" launch/look.py process) || exit
    read -r process processes <<<"$place"
  fi
  ((process > 0)) || in_bucket "$run" || [[ -n $flag_stage ]] || follow_report
fi
for stage in "${stages[@]}"; do
  run_stage "$stage"
done

dry || {
  echo
  echo "done in $(elapsed): open $run/report.html"
}
