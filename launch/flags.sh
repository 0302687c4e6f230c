# shellcheck shell=bash
# Flags, dry runs and refusals of the launchers; sourced by them.
#
#   flag_zone= flag_spot=true flag_dry_run=false   # all flags, with defaults
#   read_flags "$@"                      # --zone=value, --spot, --nospot
#   run COMMAND …                        # or, with --dry_run, its line alone
#
# `read_flags` leaves what is no flag, and all after --, in WORDS. A line of the
# file of --settings=FILE is a flag without its dashes; # begins a remark.
# --help prints the script's first remark. A bad flag ends it in a line, with 2.

WORDS=()
exec 3>&1 # where dry runs are told, whatever is captured

read_flags() {
  while (($#)); do
    case $1 in
      --)
        shift
        WORDS+=("$@")
        return
        ;;
      -h | --help)
        sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
      --settings=*) _read_settings "${1#--settings=}" ;;
      --*) _set_flag "${1#--}" ;;
      *) WORDS+=("$1") ;;
    esac
    shift
  done
}

_read_settings() {
  local line
  [[ -r $1 ]] || refuse "--settings=$1: no such file"
  while IFS= read -r line || [[ -n $line ]]; do
    line=${line%$'\r'}
    [[ $line =~ ^[[:space:]]*(#|$) ]] || _set_flag "$line"
  done <"$1"
}

_set_flag() {
  local name=${1%%=*} switch=
  if [[ $name == "$1" ]]; then
    switch=true
    if [[ $name == no* ]] && _is_switch "${name#no}"; then
      name=${name#no} switch=false
    fi
  fi
  _is_flag "$name" || refuse "--$name: there is no such flag"
  if [[ -n $switch ]]; then
    _is_switch "$name" || refuse "--$name: give a value, --$name=…"
    printf -v "flag_$name" %s "$switch"
  elif _is_switch "$name" && [[ ! ${1#*=} =~ ^(true|false)$ ]]; then
    refuse "--$1: give --$name or --no$name"
  else
    printf -v "flag_$name" %s "${1#*=}"
  fi
}

_is_flag() {
  local variable=flag_$1
  [[ $1 =~ ^[a-z_]+$ && -n ${!variable+set} ]]
}

_is_switch() {
  local variable=flag_$1
  _is_flag "$1" && [[ ${!variable} == true || ${!variable} == false ]]
}

# needs NAME PATTERN WANTED: ends the script where a flag does not match.
needs() {
  local variable=flag_$1
  [[ -n ${!variable} ]] || refuse "--$1 is missing: give $3"
  [[ ${!variable} =~ ^($2)$ ]] || refuse "--$1=${!variable}: wanted $3"
}

run() {
  if [[ ${flag_dry_run:-} == true ]]; then
    { printf %q "$1" && shift && (($#)) && printf ' %q' "$@"; } >&3 || true
    echo >&3
  else
    "$@"
  fi
}

refuse() {
  echo "error: $*; see --help" >&2
  exit 2
}

fail() {
  echo "error: $*" >&2
  exit 1
}
