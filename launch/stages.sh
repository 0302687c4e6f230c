# shellcheck shell=bash
# What scripts that go from clips to a report share; sourced by them, with
# STAGES, the number of stages, set.
#
#   start_run NAME [WORKDIR]   # $run: where the run goes, $runs: where others
#                              # on this machine do; the checkout is entered
#   stage TEXT                 # tells which stage begins
#   videoar COMMAND …          # python -m videoar_jax.COMMAND, or the end
#   follow_report              # keeps $run/report.html up to date beside the rest
#   finish_report              # ends that, and writes it a last time
#   update RESULT RUN COMMAND …   # videoar COMMAND, which writes RESULT, unless
#                                 # it is newer than RUN's checkpoints
#
# A run is in $VIDEOAR_RUNS/NAME (runs/NAME), or in WORKDIR, a folder or gs://….
# With flag_dry_run=true, of launch/flags.sh, commands are printed, and nothing
# is done.

# shellcheck source=launch/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

trap 'stop 130' INT
trap 'stop 143' TERM
child='' follower='' stopped=''

start_run() {
  runs=${VIDEOAR_RUNS:-runs}
  [[ $runs == /* || -z ${VIDEOAR_RUNS:-} ]] || runs=$PWD/$runs
  run=${2:-$runs/$1}
  [[ -z ${2:-} || $run == /* ]] || in_bucket "$run" || run=$PWD/$run
  cd "$VIDEOAR_ROOT" || exit
  ! dry || return 0
  in_bucket "$run" || mkdir -p "$run"
  # A second run, and the stages among themselves, share compiled programs.
  export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-$runs/jax_cache}
  export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=1
  export TF_CPP_MIN_LOG_LEVEL=${TF_CPP_MIN_LOG_LEVEL:-2}
}

dry() {
  [[ ${flag_dry_run:-} == true ]]
}

in_bucket() {
  [[ $1 == gs://* ]]
}

stage_number=0
stage() {
  stage_number=$((stage_number + 1))
  if dry; then
    echo "# [$stage_number/$STAGES] $1"
    return
  fi
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
  if dry; then
    run python -m "videoar_jax.$command" "$@"
    return
  fi
  attend "$PYTHON" -m "videoar_jax.$command" "$@" --verbosity=-1 || code=$?
  if ((code)); then
    # Ctrl-C and SIGTERM need no explanation.
    ((code == 130 || code == 143)) ||
      echo "error: videoar_jax.$command failed ($code), see above" >&2
    exit "$code"
  fi
}

# Runs a command beside this shell, which so hears of signals at once.
attend() {
  local code=0
  (trap - INT TERM && exec "$@") &
  child=$!
  wait "$child" || code=$?
  while kill -0 "$child" 2>/dev/null; do # a signal ended the wait alone
    code=0
    wait "$child" || code=$?
  done
  child=''
  [[ -z $stopped ]] || exit "$stopped"
  return "$code"
}

# The command is waited for, as training saves first. Ctrl-C reaches it without
# this shell; SIGTERM does not.
stop() {
  stopped=$1
  echo >&2
  echo 'stopped; the same command goes on from here' >&2
  [[ -n $child ]] || exit "$stopped"
  ((stopped == 130)) || kill -TERM "$child" 2>/dev/null || true
}

follow_report() {
  "$PYTHON" -m videoar_jax.report --run="$run" --out="$run/report.html" \
    --follow --verbosity=-1 &
  follower=$!
  trap 'kill "$follower" 2>/dev/null || true' EXIT
}

finish_report() {
  if [[ -n $follower ]]; then
    kill "$follower" 2>/dev/null || true
    wait "$follower" 2>/dev/null || true
  fi
  videoar report --run="$run" --out="$run/report.html"
}

# Of samples the contact sheet is what is written last.
update() {
  local result=$1 of=$2
  shift 2
  if ! dry && _up_to_date "$result" "$of"; then
    echo "${result%/grid.png} is up to date"
  else
    videoar "$@"
  fi
}

_up_to_date() {
  local checkpoint
  if in_bucket "$1"; then
    "$PYTHON" launch/look.py newer "$1" "$2"
    return
  fi
  [[ -s $1 ]] || return 1
  for checkpoint in "$2"/checkpoints/[0-9]*; do
    [[ $1 -nt $checkpoint ]] || return 1
  done
}
