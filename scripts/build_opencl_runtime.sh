#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Build TVM's OpenCL runtime for the TVM that is installed, a small library beside it: the wheels
# on PyPI have OpenCL's code generator but not this. Five source files, a minute or two. Needs git,
# g++ and OpenCL's headers (apt install git g++ opencl-headers); to run it, a driver (docs/gpu.md).
#
#   scripts/build_opencl_runtime.sh            fetches TVM's source of the installed version
#   TVM_SOURCE=DIR scripts/build_opencl_runtime.sh      takes it from a checkout

set -euo pipefail
python=${PYTHON:-python3}

fail() { echo "build_opencl_runtime: $1: $2" >&2; exit 2; }

command -v g++ >/dev/null || fail 'g++ is missing' 'apt install g++'
echo '#include <CL/cl.h>' | g++ -x c++ -fsyntax-only - 2>/dev/null \
    || fail "OpenCL's headers are missing" 'apt install opencl-headers'
here=$(cd "$(dirname "$0")/.." && pwd)
mapfile -t found < <(PYTHONPATH=$here TVM_USE_RUNTIME_LIB=1 "$python" - <<'PYTHON'
import sys
sys.modules['torch'] = None
import importlib.metadata
from pathlib import Path
import tvm, tvm_ffi
from face_tracking.compiler import gpu
print(importlib.metadata.version('apache-tvm'))
print(Path(tvm.__file__).parent)
print(Path(tvm_ffi.__file__).parent)
print(gpu.runtime_library('opencl'))
PYTHON
)
[ "${#found[@]}" -eq 4 ] || fail 'TVM cannot be imported' 'activate the environment that has it'
version=${found[0]} tvm=${found[1]} ffi=${found[2]} target=${found[3]}

if [ -z "${TVM_SOURCE:-}" ]; then
    TVM_SOURCE=$(mktemp -d)
    trap 'rm -rf "$TVM_SOURCE"' EXIT
    echo "fetching TVM $version"
    # A wheel's post-release has no tag of its own if only its packaging changed.
    git clone -q --depth 1 --branch "v$version" https://github.com/apache/tvm "$TVM_SOURCE" \
        || git clone -q --depth 1 --branch "v${version%.post*}" https://github.com/apache/tvm \
            "$TVM_SOURCE" \
        || fail "TVM's source could not be fetched" 'set TVM_SOURCE to a checkout of it'
fi
runtime=$TVM_SOURCE/src/backend/opencl/runtime
[ -d "$runtime" ] || fail "$TVM_SOURCE is no source of TVM 0.27 or later" 'set TVM_SOURCE'

echo "compiling $target"
mkdir -p "$(dirname "$target")"
# The wrapper looks for the driver at run time, so that the library loads without one.
g++ -std=c++20 -O2 -shared -fPIC -w -DCL_TARGET_OPENCL_VERSION=200 \
    -I"$TVM_SOURCE/include" -I"$ffi/include" -I"$ffi/3rdparty/dlpack/include" \
    "$runtime"/*.cc "$runtime"/opencl_wrapper/opencl_wrapper.cc -o "$target.part" \
    -L"$tvm/lib" -ltvm_runtime -L"$ffi/lib" -ltvm_ffi -ldl
mv "$target.part" "$target"
echo "ready: $target"
