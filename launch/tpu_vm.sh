#!/usr/bin/env bash
# A slice of Cloud TPU VMs, and a job on all its workers.
#
#   bash launch/tpu_vm.sh ACTION --name=NAME --zone=ZONE [flags] [-- COMMAND …]
#
# Actions:
#   create   asks for the slice, a queued resource, and waits until it is there
#   copy     what git tracks, to all workers, and makes the environment there
#   run      starts COMMAND on all workers; it lives on when the connection ends
#   up       create, copy and run
#   status   of the slice, of the job on each worker, and of the job as a whole:
#            none, running, done, failed CODES, lost (a worker rebooted), silent
#   tail     follows the job's log on one worker
#   stop     SIGTERM to the job on all workers: training saves, then ends
#   delete   the slice, and all that lies on its disks
#
# Flags, with their defaults:
#   --project=             of gcloud's own configuration
#   --accelerator=         as gcloud names it: v5litepod-16, v5p-128, v6e-64
#   --runtime=             of the VMs; follows from the accelerator
#   --slices=1             of a multislice
#   --nospot               not a spot slice, which may be taken away at any time
#   --create_flags=        more words for gcloud's create: '--network=net-1 …'
#   --ssh_flags=           more words for its ssh and scp: --tunnel-through-iap
#   --extras=tpu,gcs       of setup.py, for the environment
#   --secrets=             names of variables of this shell that the job gets:
#                          WANDB_API_KEY,HF_TOKEN; no value is shown or logged
#   --job=train            name of the job
#   --worker=0 --lines=50 --nofollow   what `tail` shows
#   --nowait --poll_s=30   whether and how often create looks
#   --settings=FILE        lines of flags without dashes: zone=us-east5-b
#   --dry_run              prints the commands, and does nothing

set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=launch/flags.sh
source "$HERE/flags.sh"

flag_name='' flag_zone='' flag_project='' flag_accelerator='' flag_runtime=''
flag_slices=1 flag_spot=true flag_create_flags='' flag_ssh_flags=''
flag_extras=tpu,gcs flag_secrets='' flag_job=train flag_worker=0 flag_lines=50
flag_follow=true flag_wait=true flag_poll_s=30 flag_dry_run=false
wanted='' # how many workers there are, once they were counted
WORKER='bash videoar/code/launch/worker.sh'

# One call of gcloud on the slice: cloud VERB [words …].
cloud() {
  run gcloud compute tpus queued-resources "$1" "$flag_name" "${@:2}" \
    "${place[@]}"
}

# The slice's state, ABSENT, or UNKNOWN where gcloud could not tell.
slice_state() {
  local said
  if said=$(cloud describe '--format=value(state.state)' 2>"$scratch/said"); then
    echo "${said:-UNKNOWN}"
  elif grep -qi 'not[ _]found' "$scratch/said"; then
    echo ABSENT
  else
    cat "$scratch/said" >&2
    echo UNKNOWN
  fi
}

create() {
  local node=("--node-id=$flag_name") spot=()
  check_accelerator
  case $($dry || slice_state) in
    '' | ABSENT) ;;
    FAILED | SUSPENDING | SUSPENDED)
      fail "slice $flag_name has been taken away or refused; delete it first"
      ;;
    UNKNOWN) fail "gcloud says nothing of slice $flag_name, see above" ;;
    *)
      echo "slice $flag_name is there already"
      await_slice
      return
      ;;
  esac
  ((flag_slices == 1)) || node=("--node-count=$flag_slices")
  if $flag_spot; then spot=(--spot); fi
  # shellcheck disable=SC2086
  cloud create "${node[@]}" --accelerator-type="$flag_accelerator" \
    --runtime-version="$flag_runtime" "${spot[@]}" $flag_create_flags
  await_slice
}

check_accelerator() {
  local sizes chips kind=
  needs accelerator '[a-z0-9:]+[-a-z0-9]*' \
    "gcloud's name of a slice: v5litepod-16, v5p-128, v6e-64"
  case $flag_accelerator in
    v5litepod-[0-9]*) kind=v2-alpha-tpuv5-lite ;;
    v5p-[0-9]*) kind=v2-alpha-tpuv5 ;;
    v6e-[0-9]*) kind=v2-alpha-tpuv6e ;;
    v[234]-[0-9]*) kind=tpu-ubuntu2204-base ;;
    tpu7x*) refuse "--accelerator=$flag_accelerator: Cloud TPU VMs have no" \
      'TPU7x; use launch/gke' ;;
    v5e:*x* | v6e:*x* | v5p:*x*) # a topology; of v5p the cores are counted
      sizes=${flag_accelerator#*:}
      chips=$((${sizes//x/*}))
      [[ $flag_accelerator != v5p* ]] || chips=$((2 * chips))
      kind=${flag_accelerator%%:*}
      refuse "--accelerator=$flag_accelerator: use ${kind/v5e/v5litepod}-$chips"
      ;;
    *) refuse "--accelerator=$flag_accelerator: wanted v5litepod-…, v5p-…," \
      'v6e-… or v4-…' ;;
  esac
  flag_runtime=${flag_runtime:-$kind}
}

await_slice() {
  local state last=
  if $dry; then
    slice_state >/dev/null # again and again, until it is ACTIVE
    return
  fi
  while $flag_wait; do
    state=$(slice_state)
    [[ $state == "$last" ]] || echo "slice $flag_name: $state"
    last=$state
    case $state in
      ACTIVE) return ;;
      ABSENT | FAILED | SUSPENDING | SUSPENDED)
        why_failed >&2
        fail "slice $flag_name will not come: $state; delete it"
        ;;
    esac
    sleep "$flag_poll_s"
  done
}

why_failed() {
  cloud describe '--format=value(state.failedData.error.message)' || true
}

# All workers' connections at once; those that cannot be made may be passed over
# in silence by gcloud, so that answers are counted.
remote() {
  # shellcheck disable=SC2086
  cloud ssh --worker=all --node=all --command="$1" $flag_ssh_flags
}

send() {
  # shellcheck disable=SC2086
  run gcloud compute tpus queued-resources scp "${@:1:$#-1}" \
    "$flag_name:${*: -1}" --worker=all --node=all "${place[@]}" $flag_ssh_flags
}

count_workers() {
  local i node found total=0
  for ((i = 0; i < flag_slices; i++)); do
    node=$flag_name
    ((flag_slices == 1)) || node=$flag_name-$i
    found=$(run gcloud compute tpus tpu-vm describe "$node" \
      '--format=value(networkEndpoints[].ipAddress)' "${place[@]}") || return 1
    total=$((total + $(tr -s ';, \n' '\n' <<<"$found" | grep -c . || true)))
  done
  echo "$total"
}

# ask ANSWER COMMAND: fails unless each worker runs it and answers so.
ask() {
  local came
  [[ -n $wanted ]] || wanted=$(count_workers)
  remote "$2" | tee "$scratch/answers"
  came=$(grep -cE "^worker [^ ]+ ($1)" "$scratch/answers" || true)
  ((came == wanted)) || fail "$came of $wanted workers of $flag_name answered"
}

copy() {
  local archive=$scratch/code.tgz
  cd "$HERE/.."
  if $dry; then
    echo "git ls-files -z | tar --null -T - -czf $archive"
  else
    tracked_files | tar --null -T - -czf "$archive"
  fi
  send "$archive" videoar.tgz
  # Not under a job that runs.
  ask ready "mkdir -p -m 700 videoar && \
{ test ! -e videoar/code || $WORKER prepare $flag_job; } && \
rm -rf videoar/code && mkdir videoar/code && \
tar -xzf videoar.tgz -C videoar/code && $WORKER setup $flag_extras"
}

# As they are in the working tree, committed or not.
tracked_files() {
  local path
  git ls-files -z | while IFS= read -r -d '' path; do
    [[ ! -e $path && ! -L $path ]] || printf '%s\0' "$path"
  done
}

# After `check_job`.
run_job() {
  { printf exec && printf ' %q' "${WORDS[@]}" && echo; } >"$scratch/command"
  ask prepared "$WORKER prepare $flag_job"
  send "$scratch/command" "$scratch/secrets" "videoar/jobs/$flag_job/"
  ask started "$WORKER start $flag_job"
}

# Values go through files of mode 600 alone, never on a command line.
check_job() {
  local name
  ((${#WORDS[@]})) || refuse "$action: give the command after --"
  : >"$scratch/secrets"
  for name in ${flag_secrets//,/ }; do
    [[ $name =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]] ||
      refuse "--secrets: $name is no name of a variable"
    [[ -n ${!name:-} ]] || refuse "--secrets=$name: the variable is not set here"
    printf 'export %s=%q\n' "$name" "${!name}" >>"$scratch/secrets"
  done
}

status() {
  local state
  state=$(slice_state)
  $dry || echo "state $state"
  [[ $state == ACTIVE ]] || $dry || return 0
  if wanted=$(count_workers); then
    # Before the copy there is no script.
    remote "if test -e videoar/code; then $WORKER report $flag_job; \
else echo worker none none; fi" >"$scratch/answers" || true
    summarise "$wanted"
  else
    echo 'job silent'
  fi
}

# The answers, and a word on the job with the statuses it ended with, if bad.
summarise() {
  $dry || awk -v wanted="$1" '
    /^worker / { came++; count[$3]++; print }
    /^worker .* ended [1-9]/ { bad++; if (!seen[$4]++) codes = codes "," $4 }
    END {
      if (came < wanted || !came) print "job silent"
      else if (bad) print "job failed " substr(codes, 2)
      else if (count["lost"]) print "job lost"
      else if (count["none"] == came) print "job none"
      else if (count["none"]) print "job lost"
      else print count["running"] ? "job running" : "job done"
    }' "$scratch/answers"
}

tail_log() {
  local follow=
  if $flag_follow; then follow=-F; fi
  # shellcheck disable=SC2086
  cloud ssh --worker="$flag_worker" --node=0 $flag_ssh_flags \
    --command="tail -n $flag_lines $follow videoar/jobs/$flag_job/log"
}

delete() {
  if ! $dry && [[ $(slice_state) == ABSENT ]]; then
    echo "there is no slice $flag_name"
  else
    cloud delete --force --quiet
  fi
}

read_flags "$@"
action=${WORDS[0]:-}
WORDS=("${WORDS[@]:1}")
case $action in
  create | copy | run | up | status | tail | stop | delete) ;;
  *) refuse "ACTION '$action': wanted create, copy, run, up, status, tail, stop" \
    'or delete' ;;
esac
if [[ $action != run && $action != up ]] && ((${#WORDS[@]})); then
  refuse "$action: unexpected word ${WORDS[0]}"
fi
needs name '[a-z]([-a-z0-9]*[a-z0-9])?' 'small letters, digits and dashes'
needs zone '[-a-z0-9]+' 'a zone: us-east5-b'
needs slices '[1-9][0-9]*' 'a number'
needs job '[A-Za-z0-9_]+' 'letters and digits'
needs extras '[a-z,]+' 'extras of setup.py: tpu,gcs'
needs worker '[0-9]+' "a worker's number"
needs lines '[0-9]+' 'a number of lines'
needs poll_s '[0-9]+(\.[0-9]+)?' 'seconds'

dry=$flag_dry_run
place=(--zone="$flag_zone")
[[ -z $flag_project ]] || place+=(--project="$flag_project")
umask 077
scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT

case $action in
  run)
    check_job
    run_job
    ;;
  up)
    check_job
    flag_wait=true
    create
    copy
    run_job
    ;;
  tail) tail_log ;;
  stop) ask 'ended|lost|none' "$WORKER stop $flag_job" ;;
  *) "$action" ;;
esac
