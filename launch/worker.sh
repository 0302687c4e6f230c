#!/usr/bin/env bash
# What launch/tpu_vm.sh asks of each worker of a slice, over ssh. All of it lies
# in ~/videoar: code/, venv/, and jobs/JOB/ with command, log, rc.
#
#   worker.sh setup EXTRAS     # makes the environment, with extras of setup.py
#   worker.sh prepare JOB      # makes room for a job; it must not be running
#   worker.sh start JOB        # runs its command, which outlives the connection
#   worker.sh report JOB       # none, running, lost, or ended and its status
#   worker.sh stop JOB         # SIGTERM, then, after two minutes, SIGKILL
#
# The answer is a line, `worker HOST …`. A job is running while its lock is held:
# ids of processes may be of others after a reboot.

set -euo pipefail
STOP_S=${STOP_S:-120}
HOME_DIR=$HOME/videoar
job=$HOME_DIR/jobs/${2:-}

answer() {
  echo "worker $HOSTNAME $*"
}

setup() {
  export PATH=$HOME/.local/bin:$PATH VIDEOAR_VENV=$HOME_DIR/venv
  # It brings a Python of its own where the VM's is too old.
  command -v uv >/dev/null || python3 -m pip install --quiet --user uv || true
  # shellcheck source=launch/environment.sh
  source "$HOME_DIR/code/launch/environment.sh"
  make_environment "$1"
  answer ready
}

is_running() {
  [[ -e $job/lock ]] && ! flock --nonblock "$job/lock" true
}

prepare() {
  if is_running; then
    answer busy
    echo "error: job ${job##*/} is running on $HOSTNAME; stop it first" >&2
    exit 1
  fi
  (umask 077 && mkdir -p "$job")
  answer prepared
}

start() {
  rm -f "$job/rc" "$job/pids"
  nohup setsid bash "${BASH_SOURCE[0]}" work "${job##*/}" \
    </dev/null >>"$job/log" 2>&1 &
  wait_for 100 test -e "$job/pids" || {
    tail -n 3 "$job/log" >&2
    exit 1
  }
  answer started
}

# Waits up to so many tenths of a second for a command to succeed.
wait_for() {
  local i
  for ((i = 0; i < $1; i++)); do
    "${@:2}" && return
    sleep 0.1
  done
  return 1
}

work() {
  local child rc=0
  exec 9>"$job/lock"
  flock --nonblock 9
  echo "--- $(date '+%Y-%m-%d %H:%M:%S') starting on $HOSTNAME"
  if [[ -e $job/secrets ]]; then
    # shellcheck disable=SC1091
    source "$job/secrets"
    rm -f "$job/secrets"
  fi
  export PATH=$HOME_DIR/venv/bin:$PATH VIDEOAR_VENV=$HOME_DIR/venv
  cd "$HOME_DIR/code"
  trap : TERM # the command gets one itself, and this writes how it ended
  bash "$job/command" &
  child=$!
  echo "$$ $child" >"$job/pids.new"
  mv "$job/pids.new" "$job/pids"
  wait "$child" || rc=$?
  while kill -0 "$child" 2>/dev/null; do # a signal ended the wait alone
    rc=0
    wait "$child" || rc=$?
  done
  finish "$rc"
}

finish() {
  echo "--- $(date '+%Y-%m-%d %H:%M:%S') ended with $1"
  echo "$1" >"$job/rc.new"
  mv "$job/rc.new" "$job/rc"
}

report() {
  if [[ -e $job/rc ]]; then
    answer ended "$(<"$job/rc")"
  elif is_running; then
    answer running
  elif [[ -e $job/log ]]; then
    answer lost
  else
    answer none
  fi
}

has_ended() {
  ! is_running
}

stop() {
  local runner child
  if is_running && read -r runner child <"$job/pids"; then
    kill -TERM "$child" 2>/dev/null || true
    if ! wait_for $((STOP_S * 10)) has_ended; then
      kill -KILL -- "-$runner"
      wait_for 100 has_ended
      finish 137 >>"$job/log"
    fi
  fi
  report
}

case ${1:-} in
  setup | prepare | start | report | stop | work) "$1" "${2:-}" ;;
  *)
    sed -n '2,/^$/s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
