"""Drift: whether an experiment is inside what a model was trained on, check by check.

Every check is a number of an experiment, compared with those of the training experiments among
themselves. A distance of a training experiment is one to the *other* training experiments.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
from sklearn.neighbors import NearestNeighbors

from dynaclr.config import EvaluationConfig
from dynaclr.config.variants import parse_variant
from dynaclr.evaluation.maps import FittedMap
from dynaclr.evaluation.metrics.prediction_interval import Expectation, expect
from dynaclr.evaluation.tables import Row
from dynaclr.io.parquet import read_parquet

# Check to its value in one experiment: `level:phase`.
Values = dict[str, float]


class DriftReference(Protocol):
    """What of a reference checks need."""

    config: EvaluationConfig
    feature_names: dict[str, list[str]]
    maps: dict[str, FittedMap]
    anchor_control: np.ndarray | None


# An experiment fails where fewer than 1 in 100 of its kind would be as far off in any check, and is
# to be looked at from 1 in 20.
FAIL, WARN = 0.01, 0.05
# Share of frames without any contrast, or with saturated pixels, that is looked at, and that fails.
SHARES = {"dead": (0.01, 0.2), "saturated": (0.05, 0.5)}
# Of the texture baseline: medians of these features, which are logarithms.
_TEXTURES = {"sharpness": "laplacian_1", "cell size": "object_area"}
# Differences that mean nothing: in doublings, and in logarithms of distances and textures.
_FLOOR = {"level": 0.1, "contrast": 0.1}
_OTHER_FLOOR = 0.05
_NEIGHBOURS = 5
_UNITS = {"level": "log2 counts", "contrast": "log2 counts", **dict.fromkeys(SHARES, "frames")}
COLUMNS = [
    *("model", "experiment", "check", "value", "expected", "low", "high", "n_experiments", "p"),
    *("unit", "verdict", "note"),
]


def channel_values(path: str | Path) -> Values:
    """Checks of an experiment's pixels, from its statistics; nothing is normalized there.

    Parameters
    ----------
    path : str or Path
        ``statistics.parquet``.

    Returns
    -------
    dict of str to float
        Of every marker ``level`` (median) and ``contrast`` (1st to 99th percentile), as logarithms
        to base 2 and medians over frames, and shares of frames: ``dead`` ones have no contrast, and
        in ``saturated`` ones every hundredth pixel has the largest value.
    """
    table = read_parquet(path).to_pandas()
    table = table[(table["level"] == "frame") & (table["n"] > 0)]
    values: Values = {}
    for marker, rows in table.groupby(table["marker"].astype(str), sort=True):
        span = rows["p99"] - rows["p1"]
        values[f"level:{marker}"] = float(np.log2(max(rows["median"].median(), 1e-9)))
        values[f"contrast:{marker}"] = float(np.log2(max(span.median(), 1e-9)))
        values[f"dead:{marker}"] = float((rows["std"] <= 0).mean())
        clipped = (rows["p99"] >= rows["max"]) & (rows["std"] > 0)
        values[f"saturated:{marker}"] = float(clipped.mean())
    return values


def texture_values(features: np.ndarray, names: list[str]) -> Values:
    """Checks of an experiment's patches: ``sharpness`` and ``cell size`` of every marker.

    Parameters
    ----------
    features : numpy.ndarray
        Of the texture baseline, shape (n, d).
    names : list of str
        ``<feature>:<marker>``.
    """
    values: Values = {}
    for number, name in enumerate(names):
        feature, _, marker = name.partition(":")
        for check, wanted in _TEXTURES.items():
            if feature == wanted:
                values[f"{check}:{marker}"] = float(np.nanmedian(features[:, number]))
    return values


def distance_values(
    fitted: FittedMap,
    features: np.ndarray,
    control: np.ndarray | None,
    anchors: np.ndarray,
    anchor_control: np.ndarray | None,
) -> Values:
    """Checks of an experiment's embedding: how far its cells lie from those of a reference.

    The median over cells of the logarithm of the distance to the fifth nearest reference cell,
    among the map's principal components; of all cells, and of control cells among control cells.

    Parameters
    ----------
    fitted : FittedMap
    features : numpy.ndarray
        Shape (n, d).
    control : numpy.ndarray or None
        bool, shape (n,); None without a control condition.
    anchors : numpy.ndarray
        Which cells of the map are the reference, bool, shape (m,).
    anchor_control : numpy.ndarray or None
        Which of the map's cells are controls, bool, shape (m,).
    """
    components = fitted.components_of(features)
    values = {"distance": _distance(components, fitted.anchors[anchors])}
    if control is not None and anchor_control is not None:
        both = components[control], fitted.anchors[anchors & anchor_control]
        values["distance of controls"] = _distance(*both)
    return values


def _distance(components: np.ndarray, reference: np.ndarray) -> float:
    if len(components) == 0 or len(reference) < _NEIGHBOURS:
        return np.nan
    finder = NearestNeighbors(n_neighbors=_NEIGHBOURS).fit(reference)
    nearest = finder.kneighbors(components)[0][:, -1]
    return float(np.median(np.log(np.maximum(nearest, 1e-12))))


def drift_rows(experiment: str, values: Values, training: Mapping[str, Values]) -> list[Row]:
    """Compare an experiment with the training experiments.

    Parameters
    ----------
    experiment : str
    values : dict of str to float
        Its checks.
    training : mapping
        Training experiment to its checks.

    Returns
    -------
    list of dict
        Columns `COLUMNS`: value, what is expected, the interval outside of which it is looked at,
        and the verdict, one row a check.
    """
    judged = [check for check in values if _kind(check) not in SHARES]
    rows = []
    for check, value in values.items():
        known = np.array([of.get(check, np.nan) for of in training.values()])
        row = {"experiment": experiment, "check": check, "value": value}
        row |= {"n_experiments": int(np.isfinite(known).sum())}
        row["unit"] = _UNITS.get(_kind(check), "log")
        if _kind(check) in SHARES:
            rows.append(row | _by_share(check, value))
        else:
            # Bonferroni: an experiment fails as a whole when one of its checks does.
            floor = _FLOOR.get(_kind(check), _OTHER_FLOOR)
            found = expect(known, value, floor, WARN / len(judged))
            rows.append(row | _by_expectation(found, len(judged)))
    return rows


def _kind(check: str) -> str:
    return check.partition(":")[0]


def _by_share(check: str, value: float) -> Row:
    warn, fail = SHARES[_kind(check)]
    verdict = "fail" if value > fail else "warn" if value > warn else "pass"
    return {"expected": 0.0, "high": warn, "verdict": verdict, "note": ""}


def _by_expectation(found: Expectation, n_checks: int) -> Row:
    columns = {"expected": found.centre, "low": found.low, "high": found.high}
    if not np.isfinite(found.centre):
        note = "fewer than three training experiments have it"
        return {**columns, "verdict": "not judged", "note": note}
    p = min(1.0, found.p * n_checks)
    verdict = "fail" if p < FAIL else "warn" if p < WARN else "pass"
    return {**columns, "p": p, "verdict": verdict, "note": ""}


def drift_values(
    reference: DriftReference,
    obs: pd.DataFrame,
    features: Mapping[str, np.ndarray],
    statistics: str | Path | None,
    anchors: np.ndarray,
) -> Values:
    """All checks of an experiment.

    Parameters
    ----------
    reference : Reference
    obs : pandas.DataFrame
        Its sample, n rows.
    features : mapping
        Variant to features, shape (n, d). Distances are those of the first trained one; sharpness
        and cell size need the variant ``texture``.
    statistics : str, Path or None
        ``statistics.parquet``; without it nothing is known of pixels.
    anchors : numpy.ndarray
        Which cells of the map are compared with, bool, shape (m,).
    """
    values = {} if statistics is None else channel_values(statistics)
    if "texture" in features:
        values |= texture_values(features["texture"], reference.feature_names["texture"])
    trained = [name for name in reference.maps if parse_variant(name).kind == "trained"]
    if trained:
        control = reference.config.control
        is_control = None if control is None else (obs["condition"] == control).to_numpy()
        values |= distance_values(
            *(reference.maps[trained[0]], features[trained[0]], is_control),
            *(anchors, reference.anchor_control),
        )
    return values
