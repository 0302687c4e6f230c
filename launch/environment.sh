# shellcheck shell=bash
# Makes the Python environment; sourced by the other scripts of this folder.
#
#   source launch/environment.sh
#   make_environment metrics,dev    # extras of setup.py, or nothing
#
# It lies in .venv of the checkout, or where $VIDEOAR_VENV says, and is reused
# until setup.py changes; $VIDEOAR_PYTHON says what a new one is made of. Sets
# PYTHON to its interpreter.

VIDEOAR_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VIDEOAR_PYTHONS='>=3.11,<3.15'

make_environment() {
  local extras=${1:-} venv=${VIDEOAR_VENV:-$VIDEOAR_ROOT/.venv} stamp
  [[ $venv == /* ]] || venv=$PWD/$venv
  PYTHON=$venv/bin/python
  stamp=$venv/videoar_jax-$(_environment_key)
  if _has_extras "$stamp" "$extras" && _is_recent "$PYTHON"; then
    return 0
  fi
  if [[ -e $venv ]] && ! "$PYTHON" -c '' 2>/dev/null; then
    echo "environment: $venv does not run; making it anew" >&2
    [[ -z ${VIDEOAR_VENV:-} ]] || _fail "remove $venv, or unset VIDEOAR_VENV"
    rm -rf -- "$venv"
  fi
  if [[ ! -e $venv ]]; then
    _make_venv "$venv"
  fi
  _is_recent "$PYTHON" || _fail "$venv has $("$PYTHON" --version 2>&1)," \
    'but Python 3.11 or newer is needed; remove it'
  echo "environment: installing into $venv (once; about a minute) …"
  _install "$VIDEOAR_ROOT${extras:+[$extras]}"
  rm -f -- "$venv"/videoar_jax-*
  : >"$stamp-$extras"
}

# find_python 11: prints a Python 3.11 that runs, from the path or pyenv's.
find_python() {
  local python found
  for python in "python3.$1" \
    "${PYENV_ROOT:-$HOME/.pyenv}/versions/3.$1".*/bin/python; do
    # A name on the path may be a shim that runs nothing.
    found=$("$python" -c 'import sys; print(sys.version_info[1])' \
      2>/dev/null) || continue
    if [[ $found == "$1" ]]; then
      echo "$python"
      return 0
    fi
  done
}

_fail() {
  echo "error: $*" >&2
  exit 1
}

# What was installed with more extras serves too.
_has_extras() {
  local stamp extra
  for stamp in "$1"-*; do
    [[ -e $stamp ]] || continue
    for extra in ${2//,/ }; do
      [[ ,${stamp#"$1-"}, == *,$extra,* ]] || continue 2
    done
    return 0
  done
  return 1
}

# Changes with what is to be installed, and with where the checkout lies.
_environment_key() {
  { cat "$VIDEOAR_ROOT/setup.py" && echo "$VIDEOAR_ROOT"; } |
    cksum | tr -d ' \t'
}

_is_recent() {
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

_make_venv() {
  local venv=$1 python
  if command -v uv >/dev/null &&
    uv venv --quiet --python "${VIDEOAR_PYTHON:-$VIDEOAR_PYTHONS}" "$venv"; then
    return 0
  fi
  # A name on the path may be a shim that runs nothing: each is tried.
  for python in ${VIDEOAR_PYTHON:-python3 python3.13 python3.12 python3.11 \
    python3.14}; do
    if _is_recent "$python"; then
      "$python" -m venv "$venv" || {
        rm -rf -- "$venv"
        _fail "'$python -m venv' failed; install uv, or on Debian and Ubuntu" \
          'the package python3-venv'
      }
      return 0
    fi
  done
  _fail 'Python 3.11 or newer is needed, and neither it nor uv is on the' \
    'path; install one of them'
}

_install() {
  if command -v uv >/dev/null; then
    if uv pip install --quiet --python "$PYTHON" --editable "$1"; then
      return 0
    fi
    echo 'environment: uv could not; trying pip' >&2
  fi
  "$PYTHON" -m pip --version >/dev/null 2>&1 ||
    "$PYTHON" -m ensurepip --upgrade >/dev/null ||
    _fail "no pip in ${PYTHON%/bin/python}; see the message above"
  "$PYTHON" -m pip install --quiet --disable-pip-version-check \
    --editable "$1" || _fail 'the installation failed; see the message above'
}
