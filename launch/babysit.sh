#!/usr/bin/env bash
# Keeps a job going on a spot slice of TPU VMs until it is done: creates the
# slice, copies the checkout, runs the command; where the slice is taken away,
# does so again, and the command resumes from its --workdir, a bucket.
#
#   bash launch/babysit.sh --name=NAME --zone=ZONE --accelerator=v6e-16 \
#     [flags of launch/tpu_vm.sh] [flags below] -- COMMAND …
#
# Flags, with their defaults:
#   --max_restarts=100   of all kinds; then it gives up
#   --max_failures=3     of the job in a row, each within --healthy_s=600 of its
#                        start; being taken away, or stopped by a signal after
#                        saving, is none
#   --permanent=2        statuses of the job after which it isn't started again
#   --poll_s=60          between two looks
#   --backoff_s=30       before a restart; doubles with each failure in a row
#   --keep               leaves the slice when it ends, which costs money
#   --dry_run            prints the commands, and does nothing
#
# Ends with 0 when the job is done, its status where that is permanent, 1 where
# it gives up. Ctrl-C ends it alone: slice and job go on, and the same command
# takes them up again.

set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=launch/flags.sh
source "$HERE/flags.sh"

flag_max_restarts=100 flag_max_failures=3 flag_healthy_s=600 flag_permanent=2
flag_poll_s=60 flag_backoff_s=30 flag_keep=false flag_dry_run=false
SAVED='^(130|143)(,(130|143))*$' # ended by a signal, after saving
MAX_SILENT=5                     # looks without an answer of all workers

# Parts the flags of its own from those of tpu_vm.sh.
own=() slice=()
while (($#)) && [[ $1 != -- ]]; do
  case $1 in
    --max_* | --healthy_s* | --permanent* | --poll_s* | --backoff_s* | \
      --keep | --nokeep | --dry_run | -h | --help) own+=("$1") ;;
    *) slice+=("$1") ;;
  esac
  shift
done
read_flags "${own[@]}" "$@"
for name in max_restarts max_failures healthy_s backoff_s; do
  needs "$name" '[0-9]+' 'a whole number'
done
needs permanent '[0-9]+(,[0-9]+)*' 'statuses: 2,64'
needs poll_s '[0-9]+(\.[0-9]+)?' 'seconds'
((${#WORDS[@]})) || refuse 'give the command after --'

# Its flags come first, for those of an action to be the last word.
tpu_vm() {
  bash "$HERE/tpu_vm.sh" "$1" "${slice[@]}" "${@:2}"
}

log() {
  echo "$(date '+%Y-%m-%d %H:%M:%S') babysit: $*"
}

begin() {
  log 'copying the checkout, and starting the command'
  began=$SECONDS
  tpu_vm copy && tpu_vm run -- "${WORDS[@]}"
}

again() {
  log 'starting the command again'
  began=$SECONDS
  tpu_vm stop && tpu_vm run -- "${WORDS[@]}"
}

# Ends with a status, after deleting what costs money.
end() {
  log "$2"
  if $flag_keep; then
    log 'the slice is kept, and costs money; launch/tpu_vm.sh delete ends that'
  elif ! tpu_vm delete; then
    log 'the slice could NOT be deleted, and costs money: delete it by hand'
  fi
  exit "$1"
}

show_log() {
  tpu_vm tail --nofollow --lines=20 || true
}

# Counts a restart, and waits before it.
restart() {
  local wait_s=$flag_backoff_s
  restarts=$((restarts + 1))
  log "restart $restarts: $1"
  ((restarts <= flag_max_restarts)) ||
    end 1 "gave up after --max_restarts=$flag_max_restarts"
  ((failures < 2)) || wait_s=$((wait_s << (failures - 1)))
  sleep "$((wait_s < 600 ? wait_s : 600))"
}

# A restart after a failure; too many in a row are the job's own fault.
fault() {
  failures=$((failures + 1))
  if ((failures >= flag_max_failures)); then
    log "failure $failures in a row: $1"
    show_log
    end 1 "gave up after --max_failures=$flag_max_failures"
  fi
  restart "$1"
}

recreate() {
  if tpu_vm delete; then
    silent=0
    restart "$1; another slice is asked for"
  fi
}

on_failed_job() {
  local code
  for code in ${1//,/ }; do
    if [[ ,$flag_permanent, == *,$code,* ]]; then
      show_log
      end "$code" "the job ended with $code, which no restart mends"
    fi
  done
  if [[ ! $1 =~ $SAVED ]]; then
    fault "the job ended with $1"
  elif ! $stopped; then
    stopped=true # the slice may be on its way out: the next look tells
    sleep "$flag_backoff_s"
    return
  else
    restart "the job was stopped by a signal ($1)"
  fi
  again || log 'it could not be started'
}

on_job() {
  [[ $job == silent ]] || silent=0
  [[ $job == failed* ]] || stopped=false
  case $job in
    none) begin || fault 'the job could not be started' ;;
    running) ((SECONDS - began < flag_healthy_s)) || failures=0 ;;
    done) end 0 'the job is done' ;;
    lost)
      restart 'a worker rebooted'
      again || log 'it could not be started'
      ;;
    silent)
      silent=$((silent + 1))
      ((silent < MAX_SILENT)) || recreate 'workers do not answer'
      ;;
    failed\ *) on_failed_job "${job#failed }" ;;
  esac
}

look() {
  local said
  said=$(tpu_vm status) || said='state UNKNOWN'
  state=$(sed -n 's/^state //p' <<<"$said")
  job=$(sed -n 's/^job //p' <<<"$said")
  [[ $state/$job == "$last" ]] || log "slice $state${job:+, job $job}"
  last=$state/$job
}

# What is to be done follows from what is there, so that babysit itself may end
# and begin at any time.
act() {
  case $state in
    ABSENT) tpu_vm create --nowait || fault 'the slice could not be asked for' ;;
    ACTIVE) on_job ;;
    SUSPENDING | SUSPENDED) recreate 'the slice was taken away' ;;
    FAILED) tpu_vm delete && fault 'the request for the slice failed' ;;
  esac
}

# All commands, shown; a bad flag of tpu_vm.sh is told before anything is done.
plan() {
  tpu_vm create --nowait --dry_run &&
    tpu_vm status --dry_run &&
    tpu_vm copy --dry_run &&
    tpu_vm run --dry_run -- "${WORDS[@]}" &&
    tpu_vm delete --dry_run
}
planned=$(plan)
if $flag_dry_run; then
  echo "$planned"
  exit 0
fi
trap 'log "ended; slice and job go on, and the same command takes them up"
exit 130' INT TERM
state='' job='' last='' began=0 restarts=0 failures=0 silent=0
stopped=false
while true; do
  look
  act || true
  sleep "$flag_poll_s"
done
