"""When a perturbation shows: distance of populations over hours, and the onset in single cells."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

QUANTILE = 0.95
# A signal counts as risen when it stays above the threshold for so many observations.
CONSECUTIVE = 2


class Discrepancy(NamedTuple):
    """Squared maximum mean discrepancy of two samples.

    Attributes
    ----------
    value : float
        Unbiased estimate; may be negative.
    z : float
        Its distance from the mean of the permuted samples, in their standard deviations.
    p : float
        Share of the permutations, and the samples themselves, that are as far apart.
    """

    value: float
    z: float
    p: float


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


def mmd_test(
    first: np.ndarray,
    second: np.ndarray,
    n_permutations: int,
    rng: np.random.Generator,
    strata: np.ndarray | None = None,
) -> Discrepancy:
    """Unbiased squared MMD with a Gaussian kernel, and its permutation null.

    Gretton et al. (2012), Journal of Machine Learning Research 13, 723, equation 3; the kernel is
    ``exp(-|x - y|^2 / (2 s^2))``, s the median distance of all pairs (`median_bandwidth`).

    Parameters
    ----------
    first, second : numpy.ndarray
        Independent rows, shapes (m, d) and (n, d), at least two each.
    n_permutations : int
    rng : numpy.random.Generator
    strata : numpy.ndarray, optional
        Shape (m + n,), of the rows of both: permutations stay within strata (experiments).
    """
    pooled = np.concatenate([first, second])
    strata = np.zeros(len(pooled)) if strata is None else strata
    squares = cdist(pooled, pooled, "sqeuclidean")
    width = np.sqrt(np.median(squares[np.triu_indices(len(pooled), 1)]))
    if width == 0:
        return Discrepancy(0.0, 0.0, 1.0)
    kernel = np.exp(-squares / (2.0 * width**2))
    np.fill_diagonal(kernel, 0.0)
    member = (np.arange(len(pooled)) < len(first)).astype(float)
    members = np.tile(member, (n_permutations + 1, 1))
    of_strata = member[np.argsort(strata, kind="stable")]
    for row in members[1:]:
        row[np.lexsort((rng.random(len(pooled)), strata))] = of_strata
    values = _mmd2(kernel, members)
    null = values[1:]
    spread = null.std()
    z = (values[0] - null.mean()) / spread if spread > 0 else 0.0
    p = (1 + (null >= values[0]).sum()) / (1 + n_permutations)
    return Discrepancy(float(values[0]), float(z), float(p))


def _mmd2(kernel: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Unbiased squared MMD for each row of `members` (1: first sample), kernel diagonal zero."""
    others = 1.0 - members
    m, n = members[0].sum(), others[0].sum()
    within_first = np.einsum("pi,pi->p", members @ kernel, members) / (m * (m - 1))
    within_second = np.einsum("pi,pi->p", others @ kernel, others) / (n * (n - 1))
    between = np.einsum("pi,pi->p", members @ kernel, others) / (m * n)
    return within_first + within_second - 2.0 * between


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
