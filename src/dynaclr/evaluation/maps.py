"""Maps: coordinates fitted on a sample of the training experiments, and other cells placed in them.

So a map stays as it is when an experiment is added, and a finished model takes its map along.
"""

from __future__ import annotations

import importlib.util
import logging
import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.neighbors import NearestNeighbors

from dynaclr.config.variants import Variant, first_of_each_kind, ordered_variants, uncorrected
from dynaclr.evaluation.metrics.scaling import mean_and_scale
from dynaclr.evaluation.projection import fit_components, umap_coordinates

logger = logging.getLogger(__name__)

# UMAP and PHATE need some observations to find neighbours, and show little of fewer.
_MIN_ROWS = 30
_N_COMPONENTS = 30
_N_NEIGHBOURS = 15
# Half of PHATE's default: the same picture in half the time.
_N_LANDMARKS = 1000
_TITLES = {"umap": "UMAP", "phate": "PHATE"}

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class FittedMap:
    """Principal components of a variant, and the coordinates of those they were fitted on.

    Attributes
    ----------
    mean, scale : numpy.ndarray
        Of each feature, float64, shape (d,).
    components : numpy.ndarray
        float64, shape (d, k).
    explained : numpy.ndarray
        Fraction of the variance of each component, shape (k,).
    anchors : numpy.ndarray
        Components of the observations that the map was fitted on, float32, shape (n, k).
    coordinates : dict of str to numpy.ndarray
        Method, ``umap`` or ``phate``, to coordinates of the anchors, float32, shape (n, 2).
    """

    mean: np.ndarray
    scale: np.ndarray
    components: np.ndarray
    explained: np.ndarray
    anchors: np.ndarray
    coordinates: Arrays

    def place(self, features: np.ndarray) -> Arrays:
        """Coordinates of observations by method, ``pca`` among them.

        An observation lies at the mean of its 15 nearest anchors, weighted by the inverse of their
        squared distance; so an anchor lies where it was. This is how UMAP's own ``transform``
        begins, without the refinement that would make the place depend on chance.

        Parameters
        ----------
        features : numpy.ndarray
            Shape (m, d); NaN where missing.

        Returns
        -------
        dict of str to numpy.ndarray
            float32; ``pca`` of shape (m, k), others of (m, 2).
        """
        components = self.components_of(features)
        placed = {"pca": components}
        if not self.coordinates:
            return placed
        finder = NearestNeighbors(n_neighbors=min(_N_NEIGHBOURS, len(self.anchors)))
        distances, nearest = finder.fit(self.anchors).kneighbors(components)
        squared = np.square(distances)
        weights = 1.0 / (squared + 1e-12 * np.maximum(squared[:, -1:], 1e-30))
        weights /= weights.sum(axis=1, keepdims=True)
        for method, coordinates in self.coordinates.items():
            means = np.einsum("mk,mkc->mc", weights, coordinates[nearest])
            placed[method] = means.astype(np.float32)
        return placed

    def components_of(self, features: np.ndarray) -> np.ndarray:
        """Principal components of features, shape (m, d); float32, shape (m, k)."""
        scaled = np.nan_to_num((features - self.mean) / self.scale)
        return (scaled @ self.components).astype(np.float32)

    def axes(self, method: str) -> list[str]:
        """Labels of the first two axes of a method."""
        if method == "pca":
            parts = enumerate(self.explained[:2], 1)
            return [f"PC {n} ({part:.0%} of variance)" for n, part in parts]
        return [f"{_TITLES[method]} {number} (no unit)" for number in (1, 2)]

    def arrays(self) -> Arrays:
        """All arrays by name, for a file."""
        own = {name: getattr(self, name) for name in _ARRAYS}
        return own | {f"map/{method}": values for method, values in self.coordinates.items()}

    @classmethod
    def of_arrays(cls, arrays: Arrays) -> FittedMap:
        """The map that `arrays` wrote."""
        coordinates = {
            name.removeprefix("map/"): values
            for name, values in arrays.items()
            if name.startswith("map/")
        }
        return cls(**{name: arrays[name] for name in _ARRAYS}, coordinates=coordinates)


_ARRAYS = ("mean", "scale", "components", "explained", "anchors")
_WITHOUT_MAP = ("texture", "pixels", "ceiling")


def mapped_variants(names: list[str]) -> list[Variant]:
    """Variants that get a map: the first of each kind, but one baseline without a network.

    Further ones look like raw intensity, and each map costs seconds; nor has a ceiling a map.
    """
    first, *others = first_of_each_kind(uncorrected(ordered_variants(names)))
    return [first, *(other for other in others if other.kind not in _WITHOUT_MAP)]


def fit_map(features: np.ndarray, lineages: np.ndarray, seed: int, with_phate: bool) -> FittedMap:
    """Fit a map of observations.

    Features are standardized, so that distances do not depend on their units; neighbours are
    searched among the first 30 principal components, and in other lineages.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d); NaN where missing.
    lineages : numpy.ndarray
        Shape (n,).
    seed : int
        Seed of UMAP and PHATE.
    with_phate : bool
        Whether to fit PHATE too, where the package ``phate`` is installed.

    Returns
    -------
    FittedMap
    """
    logger.info("map of %d observations", len(features))
    mean, scale = mean_and_scale(features)
    standardized = np.nan_to_num((features - mean) / scale)
    # At least two: with one feature the second coordinate is 0.
    n_components = max(2, min(_N_COMPONENTS, *features.shape))
    components, explained = fit_components(standardized, n_components)
    anchors = (standardized @ components).astype(np.float32)
    coordinates: Arrays = {}
    if len(features) >= _MIN_ROWS:
        coordinates["umap"] = umap_coordinates(anchors, lineages, seed).astype(np.float32)
        if with_phate and importlib.util.find_spec("phate"):
            coordinates["phate"] = _phate_coordinates(anchors, seed).astype(np.float32)
    return FittedMap(mean, scale, components, explained, anchors, coordinates)


def _phate_coordinates(features: np.ndarray, seed: int) -> np.ndarray:
    """Moon et al. (2019), doi 10.1038/s41587-019-0336-3, by its authors' package."""
    import phate

    with warnings.catch_warnings():
        # It warns of identical rows and of separate groups; neither is unusual here.
        warnings.simplefilter("ignore", RuntimeWarning)
        model = phate.PHATE(n_landmark=_N_LANDMARKS, random_state=seed, n_jobs=1, verbose=0)
        return model.fit_transform(features)
