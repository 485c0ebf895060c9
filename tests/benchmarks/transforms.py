"""Batched transforms beside MONAI's dictionary transforms, sample by sample, on the same batch.

    python tests/benchmarks/transforms.py [--batch 128] [--size 160]

Patches with a margin for rotation, cropped by the affine transform; 2-D with two channels, and
3-D with one channel of 15 planes and an eighth of the samples. Calls of the two alternate; medians
are printed. On a GPU, where there is one, else on one core. MONAI is of the dependency group
`benchmarks`; where it is not installed its columns stay empty.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
from collections.abc import Callable
from time import perf_counter

import numpy as np
import torch
from torch import Tensor, nn

from dynaclr import transforms as T

Call = Callable[[], object]


def ours(size: int, depth: int) -> dict[str, nn.Module]:
    """The batched transforms by name, each applied to every sample."""
    affine = T.RandomAffine(
        180, 0.1, translation=3, output_size=(size, size), dimensions=3 if depth > 1 else 2
    )
    steps = {
        "affine and crop": affine,
        "flips": T.RandomFlip("YX", p=0.5),
        "gamma": T.RandomGamma((0.7, 1.5), p=1.0),
        "scale": T.RandomIntensityScale(0.3, p=1.0),
        "shift": T.RandomIntensityShift(0.3, p=1.0),
        "smooth": T.RandomGaussianSmooth((0.25, 1.0), p=1.0),
        "noise": T.RandomGaussianNoise((0.0, 0.2), p=1.0),
    }
    return steps | {"all": T.Compose(list(steps.values()))}


def theirs(size: int, depth: int) -> dict[str, Callable]:
    """MONAI's transforms by the same names, for samples (C, [Z,] Y, X)."""
    from monai import transforms as M

    planes = (depth,) if depth > 1 else ()
    n_axes = len(planes) + 2
    options = {"keys": "patch", "prob": 1.0}
    sigmas = {f"sigma_{axis}": (0.25, 1.0) for axis in "xyz"}
    if depth > 1:
        # MONAI's x is the first axis, which is Z here.
        sigmas["sigma_x"] = (0.0, 0.0)
    steps = {
        "affine and crop": M.RandAffined(
            **options,
            spatial_size=(*planes, size, size),
            rotate_range=(math.pi, 0.0, 0.0) if planes else math.pi,
            scale_range=0.1,
            translate_range=3,
            padding_mode="reflection",
        ),
        "flips": M.Compose(
            [M.RandFlipd("patch", prob=0.5, spatial_axis=n_axes - 1 - i) for i in (1, 0)]
        ),
        "gamma": M.RandAdjustContrastd(**options, gamma=(0.7, 1.5)),
        "scale": M.RandScaleIntensityd(**options, factors=0.3, channel_wise=True),
        "shift": M.RandShiftIntensityd(**options, offsets=0.3, channel_wise=True),
        "smooth": M.RandGaussianSmoothd(**options, **sigmas),
        "noise": M.RandGaussianNoised(**options, std=0.2),
    }
    return steps | {"all": M.Compose(list(steps.values()))}


def sample_by_sample(transform: Callable, x_BCZYX: Tensor) -> Tensor:
    """Collate what a transform of dictionaries makes of each sample."""
    samples = x_BCZYX[:, :, 0] if x_BCZYX.shape[2] == 1 else x_BCZYX
    made = [transform({"patch": sample})["patch"] for sample in samples]
    return torch.stack([getattr(patch, "as_tensor", lambda p=patch: p)() for patch in made])


def milliseconds(calls: list[Call], repeats: int, device: torch.device) -> list[float]:
    """Median of each call's times; the calls take turns."""
    taken = np.empty((1 + repeats, len(calls)))
    for number in range(1 + repeats):
        for position, call in enumerate(calls):
            start = perf_counter()
            call()
            if device.type == "cuda":
                torch.cuda.synchronize()
            taken[number, position] = perf_counter() - start
    # The first round warms up.
    return list(1000 * np.median(taken[1:], axis=0))


def compare(batch: int, channels: int, depth: int, size: int, repeats: int) -> None:
    """Print one line a transform for one kind of patches."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    generator = torch.Generator(device).manual_seed(0)
    extraction = 2 * round(size * 0.71)
    whole = torch.randn(batch, channels, depth, extraction, extraction, device=device)
    small = T.CentreCrop((size, size))(whole).contiguous()
    print(f"{batch} x {channels} x {depth} x {size} x {size}, {device.type}")
    has_monai = importlib.util.find_spec("monai") is not None
    other = theirs(size, depth) if has_monai else {}
    for name, transform in ours(size, depth).items():
        # After the affine transform patches have their final size.
        x_BCZYX = whole if name in ("affine and crop", "all") else small
        calls: list[Call] = [lambda t=transform, x=x_BCZYX: t(x, generator)]
        if has_monai:
            calls.append(lambda t=other[name], x=x_BCZYX: sample_by_sample(t, x))
        mine, *its = milliseconds(calls, repeats, device)
        cells = [f"{mine:,.3g} ms"]
        cells += [f"MONAI {its[0]:,.3g} ms", f"ratio {its[0] / mine:.2g}"] if its else []
        print(f"{name:<18}" + "".join(f"{cell:>20}" for cell in cells), flush=True)


def main() -> None:
    """Compare on 2-D and on 3-D patches."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--size", type=int, default=160, help="edge of a patch in pixels")
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    compare(chosen.batch, 2, 1, chosen.size, chosen.repeats)
    compare(max(chosen.batch // 8, 1), 1, 15, chosen.size, chosen.repeats)


if __name__ == "__main__":
    main()
