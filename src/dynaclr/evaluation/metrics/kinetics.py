"""When a perturbation shows: distance of populations over hours, and the onset in single cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

QUANTILE = 0.95
# A signal counts as risen when it stays above the threshold for so many observations.
CONSECUTIVE = 2


class Discrepancies(NamedTuple):
    """Squared maximum mean discrepancy of two groups in one or several windows.

    Attributes
    ----------
    value : numpy.ndarray
        Unbiased estimate of each window, shape (w,); may be negative.
    z : numpy.ndarray
        Its distance from the mean over permutations, in their standard deviations, shape (w,).
    p : numpy.ndarray
        Share of the permutations, and the groups themselves, whose largest z over all windows is
        as large: corrected for the number of windows, shape (w,).
    largest_z : float
        The largest z over windows, as its distance from the mean of the permutations' largest, in
        their standard deviations: about 0 without a difference, however many windows there are.
    """

    value: np.ndarray
    z: np.ndarray
    p: np.ndarray
    largest_z: float


class Onset(NamedTuple):
    """When the signal of a track rises, with bounds.

    Attributes
    ----------
    hours : float
        Middle of the bounds; NaN when it was not seen to rise.
    low, high : float
        It rose after `low` and by `high`: -inf when it was above from the first observation on,
        and inf when it never rose.
    """

    hours: float
    low: float
    high: float


def median_bandwidth(features: np.ndarray) -> float:
    """Median distance of all pairs of different rows: the width of the kernel.

    Gretton et al. (2012), Journal of Machine Learning Research 13, 723, section 8.
    """
    distances = cdist(features, features)[np.triu_indices(len(features), 1)]
    return float(np.median(distances))


def permuted_members(
    member: np.ndarray, strata: np.ndarray, n_permutations: int, rng: np.random.Generator
) -> np.ndarray:
    """Membership of a group as it is, and permuted within strata.

    Parameters
    ----------
    member : numpy.ndarray
        Whether each unit (lineage) is of the first group, bool, shape (u,).
    strata : numpy.ndarray
        What permutations stay within (experiments), shape (u,).
    n_permutations : int
    rng : numpy.random.Generator

    Returns
    -------
    numpy.ndarray
        bool, shape (n_permutations + 1, u), as it is first.
    """
    members = np.tile(member.astype(bool), (n_permutations + 1, 1))
    of_strata = members[0][np.argsort(strata, kind="stable")]
    for row in members[1:]:
        row[np.lexsort((rng.random(len(row)), strata))] = of_strata
    return members


def mmd_test(samples: Sequence[np.ndarray], members: Sequence[np.ndarray]) -> Discrepancies:
    """Unbiased squared MMD with a Gaussian kernel in each window, and its permutation null.

    Gretton et al. (2012), Journal of Machine Learning Research 13, 723, equation 3; the kernel is
    ``exp(-|x - y|^2 / (2 s^2))``, s the median distance of all pairs (`median_bandwidth`). The
    permutations are the same in all windows, so that the largest of all windows has its own null:
    Westfall and Young (1993), *Resampling-Based Multiple Testing*, single-step maxT.

    Parameters
    ----------
    samples : sequence of numpy.ndarray
        Independent rows of each window, shapes (n, d), at least two of each group.
    members : sequence of numpy.ndarray
        Which rows are of the first group: as it is, and in the same permutations of lineages in
        every window; bool, shapes (1 + n_permutations, n). See `permuted_members`.
    """
    values = np.stack([_mmd2(_kernel(x), of) for x, of in zip(samples, members, strict=True)])
    # Exact only if the groups as they are get no other scale than their permutations.
    alike = _standard(values, values)
    p = (alike.max(axis=0) >= alike[:, :1]).mean(axis=1)
    z = _standard(values, values[:, 1:])
    largest = z.max(axis=0)[None]
    return Discrepancies(values[:, 0], z[:, 0], p, float(_standard(largest, largest[:, 1:])[0, 0]))


def _standard(values: np.ndarray, null: np.ndarray) -> np.ndarray:
    """Values of each row as standard deviations from the mean of its null; 0 where unknown."""
    spread = np.nanstd(null, axis=1, keepdims=True)
    # Rounding is no spread.
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
    of_first = first @ kernel
    within_first = np.einsum("pi,pi->p", of_first, first)
    between = np.einsum("pi,pi->p", of_first, second)
    within_second = kernel.sum() - within_first - 2.0 * between
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(
            np.minimum(m, n) > 1,
            within_first / (m * (m - 1)) + within_second / (n * (n - 1)) - 2 * between / (m * n),
            np.nan,
        )


def response_axis(treated: np.ndarray, control: np.ndarray) -> np.ndarray:
    """Unit vector along which treated cells differ most from control cells for their spread.

    The difference of means divided feature by feature by the pooled variance: Fisher's
    discriminant with a diagonal covariance, which few cells suffice for.

    Parameters
    ----------
    treated, control : numpy.ndarray
        Shapes (m, d) and (n, d).
    """
    variance = 0.5 * (treated.var(axis=0) + control.var(axis=0))
    difference = treated.mean(axis=0) - control.mean(axis=0)
    axis = np.divide(difference, variance, out=np.zeros_like(difference), where=variance > 1e-12)
    length = np.linalg.norm(axis)
    return axis / length if length > 0 else axis


def onset_of_track(hours: np.ndarray, signal: np.ndarray, threshold: float) -> Onset:
    """When a signal rises above a threshold to stay for `CONSECUTIVE` observations.

    The rise lies between the last observation before and the first one above.

    Parameters
    ----------
    hours, signal : numpy.ndarray
        Of one track, by rising hour, shape (n,).
    threshold : float
    """
    above = signal > threshold
    run = above.copy()
    for ahead in range(1, CONSECUTIVE):
        run &= np.append(above[ahead:], np.zeros(min(ahead, len(above)), dtype=bool))
    if not run.any():
        return Onset(np.nan, float(hours[-1]), np.inf)
    first = int(run.argmax())
    if first == 0:
        return Onset(np.nan, -np.inf, float(hours[0]))
    low, high = float(hours[first - 1]), float(hours[first])
    return Onset(0.5 * (low + high), low, high)


def control_threshold(signal: np.ndarray, quantile: float = QUANTILE) -> float:
    """Value that a share `quantile` of the control cells' signals stay below."""
    return float(np.quantile(signal, quantile))
