#!/usr/bin/env bash
# Sets up what mmcell needs, then runs a command in that environment:
#
#     tools/setup.sh [--force] [COMMAND ...]
#
# The environment is $VENV if set, else the active one (virtualenv or conda) if it has a torch, else .venv.
# A torch that is there is never touched. A second call starts at once, unless --force asks for the set-up again.
#
# Variables: VENV    path of the environment; made if it does not exist
#            TORCH   what pip installs into an environment without torch
#            PYTHON  the interpreter that makes a new environment
set -euo pipefail

TORCH=${TORCH:-torch==2.13.0}
PYTHON=${PYTHON:-python3}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
wheels=${XDG_CACHE_HOME:-$HOME/.cache}/mmcell/wheels

step() { echo "==> $*" >&2; }

die() {
    echo "error: $*" >&2
    exit 2
}

# Version of the torch in the environment of interpreter $1; fails without one. Reads the package's metadata, because
# importing torch takes seconds.
torch_version() {
    "$1" -c 'from importlib.metadata import version; print(version("torch"))' 2>/dev/null
}

choose_environment() {
    local active
    if [[ -n ${VENV:-} ]]; then
        realpath -ms -- "$VENV"
        return
    fi
    for active in "${VIRTUAL_ENV:-}" "${CONDA_PREFIX:-}"; do
        if [[ -n $active ]] && torch_version "$active/bin/python" >/dev/null; then
            echo "$active"
            return
        fi
    done
    echo "$root/.venv"
}

# Everything that the set-up depends on; set-up is due when it differs from what the last one left in the environment.
fingerprint() {
    sha256sum <"$root/tools/setup.sh"
    cat "$root"/requirements*.txt "$root/pyproject.toml" | sha256sum
    echo "$root"
    torch_version "$python"
}

is_done() { [[ -f $stamp && $(fingerprint) == "$(<"$stamp")" ]]; }

# Holds the lock file $1 until the calling subshell ends.
lock() {
    mkdir -p "$(dirname "$1")"
    exec 9>"$1"
    flock -n 9 && return
    step "another set-up holds $1: waiting for it"
    flock 9
}

pip() { "$python" -m pip --disable-pip-version-check "$@"; }

make_environment() {
    step "making the environment $environment"
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
        die "$PYTHON is missing or older than 3.10; install Python 3.10 or newer, or name one: PYTHON=python3.11"
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ||
        die "$PYTHON has no venv module; install it (Debian, Ubuntu: sudo apt install python3-venv)"
    "$PYTHON" -m venv "$environment"
}

install_torch() {
    step "installing $TORCH: a minute for a CPU build, several for a CUDA build"
    # Unquoted, so that TORCH may hold pip options such as --index-url.
    # shellcheck disable=SC2086
    pip install -q $TORCH
}

check_torch() {
    "$python" - 2>/dev/null <<'END' || die "the torch in $environment does not import or is older than 2.6; upgrade it, or set VENV= to another environment"
import sys
import torch
sys.exit(tuple(map(int, torch.__version__.split('.')[:2])) < (2, 6))
END
}

# What a compiled mmcv is good for: one torch build, one Python and, if compiled for GPUs, one CUDA and these GPUs.
# It is compiled for GPUs under the condition that mmcv's own setup.py uses.
wheel_key() {
    "$python" - <<'END'
import os
import platform
import re
import sys

import torch

target = 'cpu'
if torch.version.cuda and (torch.cuda.is_available() or os.environ.get('FORCE_CUDA') == '1'):
    gpus = {'%d.%d' % torch.cuda.get_device_capability(i) for i in range(torch.cuda.device_count())}
    chosen = os.environ.get('TORCH_CUDA_ARCH_LIST') or '_'.join(sorted(gpus)) or 'all'
    target = f'cuda{torch.version.cuda}-sm{re.sub("[^0-9A-Za-z.+]+", "_", chosen)}'
python = f'cp{sys.version_info.major}{sys.version_info.minor}{sys.abiflags}'
print(f'torch{torch.__version__}-{python}-{platform.machine()}-{target}')
END
}

# Path of the finished wheel of requirement $1 (name==version) in folder $2; fails without one.
find_wheel() {
    local name=${1%%==*} version=${1##*==}
    compgen -G "$2/${name//-/_}-$version-*.whl"
}

check_compiler() {
    local compiler=${CXX:-g++} cure='install it (Debian, Ubuntu: sudo apt install g++ python3-dev)'
    command -v "$compiler" >/dev/null || die "no C++ compiler ($compiler) to build mmcv with; $cure"
    "$python" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' ||
        die "no Python headers (Python.h) to build mmcv with; $cure"
    if [[ $1 == *-cuda* ]]; then
        "$python" -c 'import sys, torch.utils.cpp_extension as extension; sys.exit(extension.CUDA_HOME is None)' ||
            die "no nvcc to build mmcv for $1 with; install that CUDA toolkit or set CUDA_HOME to it"
    fi
}

# One job a core, but no more than memory is good for: a compiler on torch's headers takes up to 2 GB.
compile_jobs() {
    local cores memory
    cores=$(nproc)
    memory=$(awk '/^MemAvailable/ {print int($2 / 2e6)}' /proc/meminfo)
    echo $((memory < 1 ? 1 : memory < cores ? memory : cores))
}

# Compiles requirement $1 into folder $2. A wheel gets there whole or not at all.
build_wheel() {
    local jobs log=$2/build.log temporary
    check_compiler "$2"
    jobs=${MAX_JOBS:-$(compile_jobs)}
    pip install -q wheel ninja packaging psutil
    temporary=$(mktemp -d "$2/building.XXXXXX")
    # shellcheck disable=SC2064  # expand now: the variable is local
    trap "rm -rf '$temporary'" EXIT
    step "compiling $1 with $jobs jobs: 15 to 20 minutes on two cores, only once; watch it with: tail -f '$log'"
    # Not from pip's own cache, which does not know for which torch a wheel was compiled.
    MMCV_WITH_OPS=1 MAX_JOBS=$jobs pip wheel -v --no-build-isolation --no-deps --no-cache-dir --no-binary :all: \
        -w "$temporary" "$1" >"$log" 2>&1 || {
        tail -n 15 "$log" >&2
        die "compiling $1 failed; the first error is in $log"
    }
    mv "$temporary"/*.whl "$2/"
}

install_mmcv() {
    local requirement folder
    requirement=$(grep -o '^onedl-mmcv==[^ ]*' "$root/requirements-nodeps.txt")
    folder=$wheels/$(wheel_key)
    (
        lock "$folder/lock"
        find_wheel "$requirement" "$folder" >/dev/null || build_wheel "$requirement" "$folder"
    )
    step "installing the compiled $requirement"
    # Forced: the version alone does not say for which torch an installed one was compiled.
    pip install -q --no-deps --force-reinstall "$(find_wheel "$requirement" "$folder")"
}

# timm imports torchvision, whose release 0.(n + 15) belongs to torch 2.n. Without its dependencies: they name the torch
# that its wheels are compiled for, which need not be the one that is here. A torch that is not PyPI's says so in its
# version (2.13.0+cpu, 2.13.0+cu126): the torchvision compiled for it is on PyTorch's own index. Where that is not in reach,
# PyPI's has to do, whose operators do not load, which mmcell/compat/torchvision.py copes with. A torchvision that is
# there is never touched.
install_torchvision() {
    "$python" -c 'from importlib.metadata import version; version("torchvision")' 2>/dev/null && return
    local torch release index
    torch=$(torch_version "$python")
    release=0.$(($(cut -d. -f2 <<<"$torch") + 15))
    index=https://download.pytorch.org/whl/${torch#*+}
    step "installing torchvision $release"
    if [[ $torch == *+* ]] &&
        pip install -q --no-deps --retries 0 --timeout 15 --index-url "$index" "torchvision==$release.*" 2>/dev/null; then
        return
    fi
    pip install -q --no-deps "torchvision==$release.*" ||
        step 'no torchvision for this torch: configs with a backbone of timm will not run'
}

set_up() {
    [[ -x $python ]] || make_environment
    pip --version &>/dev/null || "$python" -m ensurepip >/dev/null
    torch_version "$python" >/dev/null || install_torch
    step 'installing the Python packages: about a minute'
    pip install -q 'setuptools>=77' -r "$root/requirements.txt" -r "$root/requirements-dev.txt"
    check_torch
    install_mmcv
    pip install -q --no-deps -r "$root/requirements-nodeps.txt"
    install_torchvision
    pip install -q --no-deps --no-build-isolation -e "$root"
    fingerprint >"$stamp"
    step "set up in $environment"
}

force=
if [[ ${1:-} == --force ]]; then
    force=1
    shift
fi
environment=$(choose_environment)
python=$environment/bin/python
stamp=$environment/.mmcell-setup
if [[ $force ]] || ! is_done; then
    (
        lock "$environment/.mmcell-lock"
        # Another set-up may have done it while this one waited.
        if [[ $force ]] || ! is_done; then set_up; fi
    )
fi
if (($#)); then
    export PATH="$environment/bin:$PATH"
    exec "$@"
fi
