"""Random streams by name, independent of the order in which things are made."""

from __future__ import annotations

import numpy as np

from dynaclr.io.artifacts import digest_text


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """Random generator for what these names stand for.

    The same seed and names give the same stream in every process and in any order; streams of
    different names are independent (NumPy's `SeedSequence` with a spawn key from the names).
    """
    key = digest_text("\n".join(map(str, names)))
    words = tuple(int(key[i : i + 8], 16) for i in range(0, 32, 8))
    return np.random.default_rng(np.random.SeedSequence(entropy=seed, spawn_key=words))
