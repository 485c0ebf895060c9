"""Time and memory of NTXentHCL beside pytorch-metric-learning and a plain implementation.

    python tests/benchmarks/losses.py [--pairs 128 512 2048 8192 16384] [--memory-gb 8]

One call forward and backward on B pairs of 128 dimensions. Every measurement has a process of its
own with at most so much memory; what does not fit says so. On a GPU, where there is one, float32
and bf16 are measured, eager and compiled; otherwise float32 on one CPU core.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
from sampling import measure

DIMENSIONS, TEMPERATURE, BETA = 128, 0.07, 0.5
Loss = Callable[[Tensor, Tensor], Tensor]


def plain(embeddings: Tensor, labels: Tensor, beta: float) -> Tensor:
    """The definition on the whole matrix, for one positive an anchor: what one writes first."""
    unit = F.normalize(embeddings.float(), dim=1)
    similarity = unit @ unit.T / TEMPERATURE
    same = labels[:, None] == labels
    positive = similarity[same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)]
    negative = similarity.masked_fill(same, -torch.inf)
    term = torch.logsumexp((1 + beta) * negative, 1)
    if beta:
        n_negatives = len(labels) - 2
        term = term - torch.logsumexp(beta * negative, 1) + np.log(n_negatives)
    return F.softplus(term - positive).mean()


def losses() -> dict[str, Loss]:
    """What is compared, by name."""
    from pytorch_metric_learning.losses import NTXentLoss

    from dynaclr.losses import NTXentHCL

    return {
        "NTXentHCL, beta 0": NTXentHCL(TEMPERATURE, beta=0.0),
        "NTXentHCL, beta 0.5": NTXentHCL(TEMPERATURE, beta=BETA),
        "plain, beta 0": lambda z, labels: plain(z, labels, 0.0),
        "plain, beta 0.5": lambda z, labels: plain(z, labels, BETA),
        "pytorch-metric-learning": NTXentLoss(TEMPERATURE),
    }


def run_one(name: str, pairs: int, way: str, memory_gb: float, seconds: float) -> dict[str, float]:
    """Median seconds of a call, and megabytes at its peak above what was held before."""
    device, dtype, mode = way.split()
    criterion = losses()[name]
    if mode == "compiled":
        criterion = torch.compile(criterion)
    generator = torch.Generator().manual_seed(0)
    # The two views of a cell are alike, as they are after some training.
    centres = torch.randn(pairs, DIMENSIONS, generator=generator)
    z = centres.repeat(2, 1) + 0.5 * torch.randn(2 * pairs, DIMENSIONS, generator=generator)
    z = z.to(device, getattr(torch, dtype)).requires_grad_()
    labels = torch.arange(pairs, device=device).repeat(2)
    if device == "cpu":
        held = Path("/proc/self/statm").read_text().split()
        limit = int(memory_gb * 2**30) + int(held[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    else:
        torch.cuda.set_per_process_memory_fraction(
            min(1.0, memory_gb * 2**30 / torch.cuda.get_device_properties(0).total_memory)
        )

    def call() -> float:
        z.grad = None
        loss = criterion(z, labels)
        loss.backward()
        return loss.item()  # waits for a GPU

    if device == "cpu":
        _, first, peak = measure(call)
    else:
        torch.cuda.reset_peak_memory_stats()
        before, start = torch.cuda.memory_allocated(), perf_counter()
        call()
        first = perf_counter() - start
        peak = (torch.cuda.max_memory_allocated() - before) / 2**20
    taken: list[float] = []
    while sum(taken) < seconds and len(taken) < 100 and (not taken or first < seconds):
        start = perf_counter()
        call()
        taken.append(perf_counter() - start)
    return {"seconds": float(np.median(taken or [first])), "MB": peak}


def measured(name: str, pairs: int, way: str, chosen: argparse.Namespace) -> dict | None:
    """One measurement in a process of its own; None where it did not fit."""
    command = [sys.executable, __file__, "--one", name, way, "--pairs", str(pairs)]
    command += ["--memory-gb", str(chosen.memory_gb), "--seconds", str(chosen.seconds)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    if done.returncode == 0:
        return json.loads(done.stdout)
    if "memory" not in done.stderr and "Cannot allocate" not in done.stderr:
        raise RuntimeError(done.stderr)
    return None


def main() -> None:
    """Measure everything and print a table a device, dtype and mode."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", nargs="+", type=int, default=[128, 512, 2048, 8192, 16384])
    parser.add_argument("--memory-gb", type=float, default=8.0, help="most for one measurement")
    parser.add_argument("--seconds", type=float, default=3.0, help="spent on each measurement")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        limits = chosen.memory_gb, chosen.seconds
        print(json.dumps(run_one(chosen.one[0], chosen.pairs[0], chosen.one[1], *limits)))
        return
    ways = ["cpu float32 eager"]
    if torch.cuda.is_available():
        modes = ("eager", "compiled")
        ways = [f"cuda {dtype} {mode}" for dtype in ("float32", "bfloat16") for mode in modes]
    for way in ways:
        print(way)
        for name in losses():
            cells = []
            for pairs in chosen.pairs:
                found = measured(name, pairs, way, chosen)
                cells.append(
                    f"{1000 * found['seconds']:,.3g} ms {found['MB']:,.0f} MB"
                    if found
                    else f"> {chosen.memory_gb:g} GB"
                )
            print(f"{name:<26}" + "".join(f"{cell:>22}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
