"""Checks of the sampler's options; every message names the option."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def as_integer(value: Any, name: str) -> int:
    """Return an integer.

    Raises
    ------
    TypeError
        For anything else, True and False included.
    """
    try:
        # True is an integer to Python, and never meant as one.
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, not {value!r}.") from None


def as_size(value: Any, name: str) -> int:
    """Return an integer of at least 1.

    Raises
    ------
    TypeError
        If it is not an integer.
    ValueError
        If it is below 1.
    """
    size = as_integer(value, name)
    if size < 1:
        raise ValueError(f"{name}={value} must be at least 1.")
    return size


def as_number(value: Any, name: str) -> float:
    """Return a real number as a float; numbers beyond the largest float become infinity.

    Raises
    ------
    TypeError
        For anything else, True and False included.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, not {value!r}.")
    try:
        return float(value)
    except OverflowError:
        return math.inf


def as_fraction(value: Any, name: str) -> float:
    """Return a number from 0 to 1.

    Raises
    ------
    TypeError
        If it is not a number.
    ValueError
        If it is outside that range.
    """
    fraction = as_number(value, name)
    if not 0 <= fraction <= 1:
        raise ValueError(f"{name}={value} is outside 0 to 1.")
    return fraction


def as_group_weights(group_weights: Mapping[Any, float], groups: list[Any]) -> NDArray[np.float64]:
    """Return the weight of each group.

    Parameters
    ----------
    group_weights : mapping
        Group to weight; a pandas.Series with the groups in its index will do.
    groups : list
        The groups of the table, in the order of the result.

    Returns
    -------
    ndarray of float64, shape (n_groups,)

    Raises
    ------
    TypeError
        If it is no mapping, or a weight is no number.
    ValueError
        If a group is unknown, missing or named twice, or a weight is not positive and finite.
    """
    if not hasattr(group_weights, "items"):
        raise TypeError(f"group_weights must map groups to weights, unlike {group_weights!r}.")
    weight_of = dict(group_weights.items())
    if len(weight_of) < len(group_weights):
        raise ValueError("group_weights names a group twice.")
    unknown = [group for group in weight_of if group not in set(groups)]
    missing = [group for group in groups if group not in weight_of]
    if unknown or missing:
        errors = [f"has no group {group!r}" for group in missing]
        errors += [f"names {group!r}, which is not in the table" for group in unknown]
        raise ValueError(f"group_weights {'; '.join(errors)}. The groups are: {groups}.")
    weights = [as_number(weight_of[group], f"group_weights of {group!r}") for group in groups]
    for group, weight in zip(groups, weights, strict=True):
        if not (math.isfinite(weight) and weight > 0):
            raise ValueError(
                f"group_weights of {group!r} is {weight_of[group]!r}; it must be positive, finite."
            )
    return np.array(weights)


def as_mask(values: ArrayLike, n_rows: int, name: str) -> NDArray[np.bool_]:
    """Return a mask of rows.

    Raises
    ------
    ValueError
        If it is no boolean array of `n_rows`.
    """
    mask = np.asarray(values)
    if mask.dtype != bool or mask.shape != (n_rows,):
        raise ValueError(
            f"{name} must be a mask of {n_rows} rows, not {mask.dtype} of shape {mask.shape}."
        )
    return mask
