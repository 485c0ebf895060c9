"""Schedules for loss hyperparameters."""

from __future__ import annotations

import math


def cosine_schedule(start: float, end: float, epoch: int, epochs: int) -> float:
    """Value that moves from ``start`` to ``end`` along half a cosine wave.

    Parameters
    ----------
    start, end : float
        Value in the first epoch (0) and in the last (``epochs - 1``).
    epoch : int
        Current epoch, counted from 0. Later than the last, the value stays at ``end``.
    epochs : int
        Number of epochs over which the value moves.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If ``epoch`` is negative or ``epochs`` is not positive.

    Examples
    --------
    >>> [round(cosine_schedule(0.5, 0.1, epoch, 3), 3) for epoch in range(4)]
    [0.5, 0.3, 0.1, 0.1]
    """
    if epoch < 0:
        raise ValueError(f"epoch must not be negative, got {epoch}")
    if epochs < 1:
        raise ValueError(f"epochs must be positive, got {epochs}")
    progress = min(epoch / max(epochs - 1, 1), 1.0)
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
