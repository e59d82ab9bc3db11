#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes .venv-training with what training needs. Safe to repeat; without anything to do it takes
# no time. On Linux it takes the CPU build of PyTorch; for a GPU, run it with
# FACE_TRACKING_TORCH=torch==2.13.0 in the environment.
#
# FACE_TRACKING_PYTHON names the interpreter to use.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=$PWD/.venv-training
wanted="$(cat training/setup.sh training/requirements.txt requirements.txt | sha256sum)${FACE_TRACKING_TORCH:-}"
[ -f "$venv/.set-up" ] && [ "$(cat "$venv/.set-up")" = "$wanted" ] && exit 0

say() { echo "training/setup: $*"; }
pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }

say 'installing what training needs into .venv-training'
python=${FACE_TRACKING_PYTHON:-python3}
"$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' ||
  { say "$python is no Python 3.10 to 3.13: set FACE_TRACKING_PYTHON" >&2; exit 1; }
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
if [ -n "${FACE_TRACKING_TORCH:-}" ]; then
  pip install -q "$FACE_TRACKING_TORCH"
elif [ "$(uname -s)" = Linux ]; then
  # First what pip is configured for may hold the CPU build; then PyTorch's own index does.
  pip install -q --no-deps torch==2.13.0+cpu 2>/dev/null ||
    pip install -q --no-deps --index-url https://download.pytorch.org/whl/cpu torch==2.13.0+cpu ||
    say 'no CPU build of PyTorch within reach: taking the usual one, some gigabytes' >&2
fi
pip install -q -r training/requirements.txt
echo "$wanted" > "$venv/.set-up"
