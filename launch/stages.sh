# shellcheck shell=bash
# What scripts that go from clips to a report share; sourced by them, with
# STAGES, the number of stages, set.
#
#   start_run NAME          # $run: where the run goes; the checkout is entered
#   stage TEXT              # tells which stage begins
#   videoar COMMAND …       # python -m videoar_jax.COMMAND, or the end
#   follow_report           # keeps $run/report.html up to date beside the rest
#   finish_report           # ends that, and writes it a last time
#   update RESULT RUN COMMAND …   # videoar COMMAND, which writes RESULT, unless
#                                 # it is newer than RUN's checkpoints

# shellcheck source=launch/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

trap 'echo; echo "stopped; the same command goes on from here" >&2; exit 130' \
  INT

start_run() {
  local runs=${VIDEOAR_RUNS:-runs}
  [[ $runs == /* || -z ${VIDEOAR_RUNS:-} ]] || runs=$PWD/$runs
  cd "$VIDEOAR_ROOT" || exit
  run=$runs/$1
  mkdir -p "$run"
  # A second run, and the stages among themselves, share compiled programs.
  export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-$runs/jax_cache}
  export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=1
  export TF_CPP_MIN_LOG_LEVEL=${TF_CPP_MIN_LOG_LEVEL:-2}
}

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

follow_report() {
  "$PYTHON" -m videoar_jax.report --run="$run" --out="$run/report.html" \
    --follow --verbosity=-1 &
  follower=$!
  trap 'kill "$follower" 2>/dev/null || true' EXIT
}

finish_report() {
  kill "$follower" 2>/dev/null || true
  wait "$follower" 2>/dev/null || true
  videoar report --run="$run" --out="$run/report.html"
}

# Of samples the contact sheet is what is written last.
update() {
  local result=$1 of=$2
  shift 2
  if _up_to_date "$result" "$of"; then
    echo "${result%/grid.png} is up to date"
  else
    videoar "$@"
  fi
}

_up_to_date() {
  local checkpoint
  [[ -s $1 ]] || return 1
  for checkpoint in "$2"/checkpoints/[0-9]*; do
    [[ $1 -nt $checkpoint ]] || return 1
  done
}
