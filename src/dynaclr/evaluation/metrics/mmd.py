"""Distance of two populations: squared maximum mean discrepancy with a permutation null."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist


class Discrepancies(NamedTuple):
    """Squared maximum mean discrepancy (MMD) of two groups in one or several windows.

    Attributes
    ----------
    value : numpy.ndarray
        Unbiased estimate of each window, shape (w,); may be negative.
    z : numpy.ndarray
        Its distance from the mean over permutations, in their standard deviations, shape (w,).
    p : numpy.ndarray
        Share of the permutations (the observed groups among them) whose largest z over all windows
        is as large: corrected for the number of windows, shape (w,).
    largest_z : float
        The largest z over windows, as its distance from the mean of the permutations' largest, in
        their standard deviations: about 0 without a difference, however many windows there are.
    """

    value: np.ndarray
    z: np.ndarray
    p: np.ndarray
    largest_z: float


def permuted_members(
    member: np.ndarray, strata: np.ndarray, n_permutations: int, rng: np.random.Generator
) -> np.ndarray:
    """Membership of a group as observed, and permuted within strata.

    Parameters
    ----------
    member : numpy.ndarray
        Whether each unit (lineage) is of the first group, bool, shape (u,).
    strata : numpy.ndarray
        Permutations stay within these (experiments), shape (u,).
    n_permutations : int
    rng : numpy.random.Generator

    Returns
    -------
    numpy.ndarray
        bool, shape (1 + n_permutations, u), the observed one first.
    """
    members = np.tile(member.astype(bool), (n_permutations + 1, 1))
    by_stratum = members[0][np.argsort(strata, kind="stable")]
    for row in members[1:]:
        row[np.lexsort((rng.random(len(row)), strata))] = by_stratum
    return members


def mmd_test(samples: Sequence[np.ndarray], members: Sequence[np.ndarray]) -> Discrepancies:
    """Unbiased squared MMD with a Gaussian kernel in each window, and its permutation null.

    Gretton et al. (2012), Journal of Machine Learning Research 13, 723, equation 3; the kernel is
    ``exp(-|x - y|^2 / (2 s^2))``, s the median distance of all pairs (section 8 there). The
    permutations are the same in all windows, so that the largest of all windows has its own null:
    Westfall and Young (1993), *Resampling-Based Multiple Testing*, single-step maxT.

    Parameters
    ----------
    samples : sequence of numpy.ndarray
        Independent rows of each window, shapes (n, d), at least two of each group.
    members : sequence of numpy.ndarray
        Which rows are of the first group: as observed, and in the same permutations of lineages in
        every window; bool, shapes (1 + n_permutations, n). See `permuted_members`.

    Returns
    -------
    Discrepancies
    """
    values = np.stack([_mmd2(_kernel(x), of) for x, of in zip(samples, members, strict=True)])
    # p is exact only if the observed groups are scaled like their permutations.
    with_observed = _standard(values, values)
    p = (with_observed.max(axis=0) >= with_observed[:, :1]).mean(axis=1)
    z = _standard(values, values[:, 1:])
    largest = z.max(axis=0)[None]
    return Discrepancies(values[:, 0], z[:, 0], p, float(_standard(largest, largest[:, 1:])[0, 0]))


def _standard(values: np.ndarray, null: np.ndarray) -> np.ndarray:
    """Values of each row as standard deviations from the mean of its null; 0 where unknown."""
    spread = np.nanstd(null, axis=1, keepdims=True)
    # A spread of rounding size counts as none.
    scale = np.where(spread > 1e-12, spread, np.inf)
    return np.nan_to_num((values - np.nanmean(null, axis=1, keepdims=True)) / scale)


def _kernel(rows: np.ndarray) -> np.ndarray:
    """Gaussian kernel of all pairs, zero of each row with itself."""
    squares = cdist(rows, rows, "sqeuclidean")
    width = np.sqrt(np.median(squares[np.triu_indices(len(rows), 1)]))
    kernel = np.exp(-squares / (2.0 * width**2)) if width > 0 else np.ones_like(squares)
    np.fill_diagonal(kernel, 0.0)
    return kernel


def _mmd2(kernel: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Unbiased squared MMD for each row of `members`; NaN with fewer than two of a group."""
    first, second = members.astype(float), (~members).astype(float)
    m, n = first.sum(axis=1), second.sum(axis=1)
    kernel_sums = first @ kernel
    within_first = np.einsum("pi,pi->p", kernel_sums, first)
    between = np.einsum("pi,pi->p", kernel_sums, second)
    within_second = kernel.sum() - within_first - 2.0 * between
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(
            np.minimum(m, n) > 1,
            within_first / (m * (m - 1)) + within_second / (n * (n - 1)) - 2 * between / (m * n),
            np.nan,
        )
