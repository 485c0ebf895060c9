"""The bare wheel, without any extra, is enough to use one part of it in other code."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.lacking import lacks

ROOMS = ("config", "sampling", "losses", "transforms", "models", "index")
ABSENT = ("snakemake", "lightning", "tensorboard", "umap", "matplotlib", "sklearn", "iohub")
SCRIPT = f"""
import importlib.util
import pkgutil

import numpy as np
import torch

import dynaclr
from dynaclr import ContrastiveEncoder, FlexibleBatchSampler, NTXentHCL

assert "site-packages" in dynaclr.__file__
assert [name for name in {ABSENT} if importlib.util.find_spec(name)] == []
for room in {ROOMS}:
    package = importlib.import_module(f"dynaclr.{{room}}")
    for module in pkgutil.walk_packages(package.__path__, f"{{package.__name__}}."):
        importlib.import_module(module.name)

table = {{"experiment": np.repeat(["a", "b"], 8), "condition": np.tile(["mock", "infected"], 8)}}
batches = list(FlexibleBatchSampler(table, batch_size=4))
assert len(batches) == 4
assert all(len(set(table["experiment"][batch])) == 1 for batch in batches)

torch.manual_seed(0)
encoder = ContrastiveEncoder("convnext_atto", in_channels=1, in_stack_depth=5, projection_dim=8)
features, projections = encoder(torch.randn(4, 1, 5, 32, 32))
assert projections.shape == (4, 8)
loss = NTXentHCL()(projections, torch.tensor([0, 1, 0, 1]))
loss.backward()
assert torch.isfinite(loss)
"""


def run(*command: object, **options: object) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def bare(repository: Path, tmp_path_factory) -> Path:
    """Interpreter of a fresh environment that holds the wheel and what it depends on."""
    uv = shutil.which("uv") or lacks("uv is not installed")
    folder = tmp_path_factory.mktemp("bare")
    # As in envs/setup.sh: a folder of wheels in pip's settings may hold a CPU build of torch.
    base = Path(sys.base_prefix) / "bin" / "python3"
    asked = [base, "-m", "pip", "config", "get", "global.find-links"]
    found = subprocess.run(asked, capture_output=True, text=True).stdout.split()
    links = os.environ.get("UV_FIND_LINKS") or ",".join(found)
    quiet = {"cwd": repository, "env": os.environ | {"UV_FIND_LINKS": links}}
    run(uv, "build", "--wheel", "--out-dir", folder, **quiet)
    run(uv, "venv", "--python", sys.executable, folder / "venv", **quiet)
    install = [uv, "pip", "install", "--python", folder / "venv"]
    wheel = next(folder.glob("*.whl"))
    run(*install, "--constraint", "envs/lock.txt", wheel, **quiet)
    python = folder / "venv" / "bin" / "python"
    if subprocess.run([python, "-c", "import torchvision"], capture_output=True).returncode:
        run(*install, "--no-deps", "./envs/torchvision_cpu", **quiet)
    return python


@pytest.mark.slow
def test_parts_are_used_without_the_rest(bare, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run(bare, "-c", SCRIPT, cwd=tmp_path, env=environment)
