#!/usr/bin/env bash
# Makes the pinned environment in .venv: bash envs/setup.sh [folder]
# PYTHON names the interpreter (default: python3). uv is installed into the folder if it is absent.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${1:-.venv}
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || {
    echo "Python 3.11, 3.12 or 3.13 is needed; $python is $("$python" --version). Set PYTHON." >&2
    exit 2
}

if command -v uv >/dev/null; then
    uv=uv
    uv venv --quiet --allow-existing --python "$python" "$venv"
else
    "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check uv==0.13.9
    uv=$venv/bin/uv
fi

# A folder of wheels in pip's settings may hold a CPU build of torch: uv does not read these settings.
if [ -z "${UV_FIND_LINKS:-}" ]; then
    UV_FIND_LINKS=${PIP_FIND_LINKS:-$("$python" -m pip config get global.find-links 2>/dev/null || true)}
    # pip separates folders by white space, uv by commas.
    UV_FIND_LINKS=$(echo $UV_FIND_LINKS | tr ' ' ',')
    export UV_FIND_LINKS
fi

echo "Installing the pinned environment into $venv"
"$uv" pip install --quiet --compile-bytecode --python "$venv" --constraint envs/lock.txt --group dev --editable '.[workflow,slurm]'

# timm needs torchvision, which beside a CPU build of torch needs a little help; see the folder.
if ! "$venv/bin/python" -c 'import torchvision' 2>/dev/null; then
    "$uv" pip install --quiet --python "$venv" --no-deps ./envs/torchvision_cpu
    "$venv/bin/python" -c 'import torchvision'
fi
touch "$venv/.complete"
