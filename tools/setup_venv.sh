#!/bin/sh
# Create (or complete) the virtual environment that make uses.
#   tools/setup_venv.sh VENV TORCH TORCH_INDEX
# VENV        directory of the environment
# TORCH       requirement for PyTorch, for example torch==2.13.0
# TORCH_INDEX package index that PyTorch alone is taken from; empty: pip's own
set -eu

venv=$1 torch=$2 torch_index=$3
python=${PYTHON:-python3}

fail() {
    printf '\n%s\n\n' "$*" >&2
    exit 1
}

command -v "$python" >/dev/null || fail "No $python found. Install Python 3.10 or newer
(Debian, Ubuntu: apt-get install python3 python3-venv; macOS: xcode-select --install, or python.org)."
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    fail "$("$python" --version) is too old: Python 3.10 or newer is needed. Choose one with
make PYTHON=/path/to/python3.12 ..."
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "Python's venv module is missing. On Debian and Ubuntu: apt-get install python3-venv"
command -v "${CC:-cc}" >/dev/null || fail "No C compiler (${CC:-cc}) found
(Debian, Ubuntu: apt-get install gcc libc6-dev; macOS: xcode-select --install)."

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }

if ! "$venv/bin/python" -c 'import torch' 2>/dev/null; then
    echo "Installing $torch"
    # First a wheel that the user's pip settings name (PIP_FIND_LINKS), so that no network is needed.
    pip install --quiet --no-index --no-deps "$torch" 2>/dev/null ||
        pip install --no-deps ${torch_index:+--index-url "$torch_index"} "$torch"
fi
pip install --quiet "$torch" 'scikit-build-core>=0.10' 'cmake>=3.26' ninja
