"""Judge a model by its embeddings: tables, maps and one sentence."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dynaclr.config import EvaluationConfig
from dynaclr.config.metrics import INCLUDES_TRAINING, POOLED, fact_of, join_notes
from dynaclr.evaluation.classifiers.controls import learning_curve, null_rows
from dynaclr.evaluation.classifiers.task_scores import TaskScores, score_task
from dynaclr.evaluation.families import Rows, health_rows, resolution_rows, temporal_rows
from dynaclr.evaluation.headline import summarize
from dynaclr.evaluation.maps import lay_out, write_maps
from dynaclr.evaluation.matched import mixing_rows
from dynaclr.evaluation.perturbation import mmd_rows, onset_rows
from dynaclr.evaluation.study import Study, make_study
from dynaclr.evaluation.tasks import LabelPaths
from dynaclr.io.artifacts import atomic_path, write_json
from dynaclr.io.embeddings import KEY, MARKER, key_of, read_cohort

logger = logging.getLogger(__name__)

_PLACE = ["model", "variant", "kind", "seed"]
METRIC_COLUMNS = [
    *_PLACE,
    *("task", "estimate", "experiment", "metric", "value", "low", "high"),
    *("n_rows", "n_lineages", "n_positive", "note", "family", "expected", "better"),
]
CURVE_COLUMNS = [
    *_PLACE,
    *("task", "experiment", "metric", "hours", "value", "low", "high", "n_rows"),
]
DIFFERENCE_COLUMNS = [
    *("model", "task", "estimate", "experiment", "metric", "baseline", "value", "low", "high"),
    *("n_seeds", "n_rows", "n_lineages", "note"),
]
CONFUSION_COLUMNS = [
    *(*_PLACE, "task", "label", "estimate", "experiment", "true", "predicted", "count"),
]
LEARNING_COLUMNS = [
    *(*_PLACE, "task", "metric", "n_lineages", "value", "low", "high", "n_draws", "n_rows"),
]
RELIABILITY_COLUMNS = [
    *(*_PLACE, "task", "estimate", "experiment", "bin", "predicted", "observed", "n_rows"),
]
ONSET_COLUMNS = [
    *(*_PLACE, "experiment", "fov", "track_id", "condition", "hours", "low", "high"),
    "true_hours",
]
PREDICTION_COLUMNS = [
    *("model", "variant", "task", *KEY, "lineage_id", "hours", "label", "class", "probability"),
]
CELL_COLUMNS = ["model", "experiment", "held_out", "n_rows", "n_lineages", "digest"]
RESAMPLED_COLUMNS = [
    *("model", "variant", "task", "estimate", "experiment", "metric", "n_lineages", "values"),
]
_WHOLE = ("seed", "n_positive", "n_lineages", "n_rows")


@dataclass(frozen=True)
class _Results:
    """What the metrics of one model gave, before it is written."""

    metrics: pd.DataFrame
    curves: pd.DataFrame
    learning: pd.DataFrame
    onsets: pd.DataFrame


def evaluate_model(
    model: str,
    stores: Mapping[str, Mapping[str, str | Path]],
    labels: LabelPaths,
    config: EvaluationConfig,
    train_experiments: list[str],
    held_out_experiments: list[str],
    out_dir: str | Path,
    seed: int = 0,
    max_cells: int = 50_000,
) -> dict[str, Any]:
    """Score a model's embeddings and its baselines on the same rows; write tables and maps.

    Parameters
    ----------
    model : str
        Name, a column of the tables.
    stores : mapping
        Variant (``seed0``, ``seed0-untrained``, ``intensity``) to experiment to embedding store.
    labels : mapping
        Experiment to the paths of its label tables, ``annotations`` and ``truth``; None or
        absent where it has none.
    config : EvaluationConfig
        Tasks, control condition, columns of truth, resamples.
    train_experiments : list of str
        Classifiers are fitted on these together, and validated within and between them.
    held_out_experiments : list of str
        Classifiers are scored on each of these.
    out_dir : str or Path
        Gets ``metrics.csv`` with every metric, ``curves.csv`` with those that run over hours,
        further tables (``differences.csv``, ``confusion.csv``, ``reliability.csv``,
        ``learning.csv``, ``onsets.csv``, ``predictions.parquet``), ``cells.csv`` and
        ``resampled.parquet`` by which models are paired, ``maps.h5ad``, and last
        ``headline.json``.
    seed : int
        Decides folds, resamples, subsamples and UMAP.
    max_cells : int
        Most cells in ``maps.h5ad``.

    Returns
    -------
    dict
        The content of ``headline.json``.

    Raises
    ------
    UserError
        When stores, tables or tasks do not fit each other.
    """
    study = make_study(
        read_cohort(stores), labels, config, train_experiments, held_out_experiments, seed
    )
    scores = []
    for task, rows in study.tasks:
        logger.info("classifiers of task %s", task.name)
        scores.append(
            score_task(
                study.cohort, task, rows, study.train, study.held_out, config.bootstrap, seed
            )
        )
    results = _measure(study, scores)
    headline = {"model": model, **summarize(scores)}
    out_dir = Path(out_dir)
    _write_tables(out_dir, model, scores, results)
    write_csv(out_dir / "cells.csv", _cells(study).assign(model=model), CELL_COLUMNS)
    store = lay_out(study.cohort, _classes(study, scores), max_cells, seed)
    write_maps(store, out_dir / "maps.h5ad")
    write_json(out_dir / "headline.json", headline)
    return headline


def _measure(study: Study, scores: list[TaskScores]) -> _Results:
    """All metrics but the classifiers' own scores, added to those."""
    rows, onsets, learning = Rows([], []), [], []
    for (task, chosen), scored in zip(study.tasks, scores, strict=True):
        train = chosen.labelled(study.train)
        given = (study.cohort, chosen, scored, train, study.uncorrected)
        logger.info("shuffled labels and learning curve of task %s", task.name)
        told = null_rows(*given, study.config.shuffles, study.seed)
        rows.metrics.extend({**row, "task": task.name} for row in told)
        learning.append(learning_curve(*given, study.seed).assign(task=task.name))
    for variant in study.variants:
        logger.info("mixing, time, kinetics and health of %s", variant.name)
        rows.metrics.extend(mixing_rows(study, variant))
        onset, table = onset_rows(study, variant)
        parts = [
            *(
                resolution_rows(study, variant, chosen, scored)
                for (_, chosen), scored in zip(study.tasks, scores, strict=True)
            ),
            *(of(study, variant) for of in (temporal_rows, mmd_rows, health_rows)),
            onset,
        ]
        for part in parts:
            rows.metrics.extend(part.metrics)
            rows.curves.extend(part.curves)
        onsets.append(table)
    classified = [
        row for s in scores for row in s.tables.metrics.assign(task=s.task.name).to_dict("records")
    ]
    notes = {variant.name: study.note_on(variant.correction) for variant in study.variants}
    metrics = pd.DataFrame([*classified, *rows.metrics])
    told = zip(metrics["note"], metrics["variant"], metrics["estimate"], strict=True)
    scopes = {POOLED: INCLUDES_TRAINING}
    return _Results(
        metrics=metrics.assign(
            note=[
                join_notes(note, notes[name], scopes.get(scope, "")) for note, name, scope in told
            ]
        ),
        curves=pd.DataFrame(rows.curves),
        learning=_joined(learning),
        onsets=_joined(onsets),
    )


def _joined(tables: list[pd.DataFrame]) -> pd.DataFrame:
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()


def _write_tables(out_dir: Path, model: str, scores: list[TaskScores], results: _Results) -> None:
    def of_all(name: str) -> pd.DataFrame:
        return _joined(
            [getattr(s.tables, name).assign(task=s.task.name, label=s.task.label) for s in scores]
        )

    facts = [fact_of(metric) for metric in results.metrics["metric"]]
    metrics = results.metrics.assign(
        family=[fact.family for fact in facts], better=[fact.better for fact in facts]
    )
    tables = {
        "metrics": (metrics, METRIC_COLUMNS),
        "curves": (results.curves, CURVE_COLUMNS),
        "differences": (of_all("differences"), DIFFERENCE_COLUMNS),
        "confusion": (of_all("confusion"), CONFUSION_COLUMNS),
        "reliability": (of_all("reliability"), RELIABILITY_COLUMNS),
        "learning": (results.learning, LEARNING_COLUMNS),
        "onsets": (results.onsets, _columns_of(ONSET_COLUMNS, results.onsets)),
    }
    for name, (table, columns) in tables.items():
        write_csv(out_dir / f"{name}.csv", table.assign(model=model), columns)
    filled = [s.predictions.assign(task=s.task.name) for s in scores if len(s.predictions)]
    predictions = pd.concat(filled) if filled else pd.DataFrame(columns=PREDICTION_COLUMNS)
    with atomic_path(out_dir / "predictions.parquet") as temporary:
        _typed(predictions.assign(model=model)).to_parquet(temporary, index=False)
    with atomic_path(out_dir / "resampled.parquet") as temporary:
        _resampled(results.metrics).assign(model=model).to_parquet(temporary, index=False)


def _resampled(metrics: pd.DataFrame) -> pd.DataFrame:
    """Values on resampled lineages of what is compared between models."""
    plain = ~metrics["kind"].str.contains("+", regex=False)
    known = metrics[plain & metrics["resampled"].notna()]
    return (
        known.rename(columns={"resampled": "values"})
        .reindex(columns=RESAMPLED_COLUMNS)
        .astype({"n_lineages": "int64", **dict.fromkeys(RESAMPLED_COLUMNS[:-2], "string")})
    )


def _cells(study: Study) -> pd.DataFrame:
    """What was judged: cells of each experiment, and a digest of which they are."""
    key = [*key_of(study.obs), "lineage_id"]
    rows = []
    for name, part in study.obs.groupby("experiment", sort=True):
        rows.append(
            {
                "experiment": name,
                "held_out": name in study.held_out,
                "n_rows": len(part),
                "n_lineages": part[["fov", "lineage_id"]].drop_duplicates().shape[0],
                "digest": digest_of_rows(part[key]),
            }
        )
    return pd.DataFrame(rows)


def digest_of_rows(table: pd.DataFrame) -> str:
    """Digest of the content of a table, rows in the order given."""
    hashes = pd.util.hash_pandas_object(table.astype(str), index=False)
    return hashlib.sha256(hashes.to_numpy().tobytes()).hexdigest()


def _columns_of(columns: list[str], table: pd.DataFrame) -> list[str]:
    """Columns to write; of a bag of channels, after the track or frame also the marker."""
    if MARKER not in table:
        return columns
    place = columns.index("t" if "t" in columns else "track_id") + 1
    return [*columns[:place], MARKER, *columns[place:]]


def write_csv(path: Path, table: pd.DataFrame, columns: list[str]) -> None:
    """Write some columns of a table, the same bytes for the same numbers."""
    table = table.reindex(columns=columns)
    for column in _WHOLE:
        if column in table:
            table[column] = table[column].astype("Int64")
    with atomic_path(path) as temporary:
        # Six digits: what lies beyond differs between processors and means nothing.
        table.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")


def _typed(predictions: pd.DataFrame) -> pd.DataFrame:
    """Column types that do not depend on whether there is any row."""
    whole, real = ["track_id", "t", "lineage_id"], ["hours", "probability"]
    columns = _columns_of(PREDICTION_COLUMNS, predictions)
    text = [name for name in columns if name not in (*whole, *real)]
    types = {**dict.fromkeys(whole, "int64"), **dict.fromkeys(real, "float64")}
    return predictions[columns].astype({**types, **dict.fromkeys(text, "string")})


def _classes(study: Study, scores: list[TaskScores]) -> dict[str, np.ndarray]:
    """Of each task the known class of every observation, and the predicted one where scored."""
    columns = {}
    for (task, rows), scored in zip(study.tasks, scores, strict=True):
        known = np.full(len(study.obs), None, dtype=object)
        known[rows.rows] = rows.labels
        columns[f"{task.name} ({task.source})"] = known
        if len(scored.predictions):
            mine = scored.predictions[scored.predictions["variant"] == study.variants[0].name]
            columns[f"{task.name} (predicted)"] = _most_probable(mine, study.obs)
    return columns


def _most_probable(predictions: pd.DataFrame, obs: pd.DataFrame) -> np.ndarray:
    """Most probable class of each observation, object, None where it was not predicted."""
    key = key_of(obs)
    best = predictions.loc[predictions.groupby(key)["probability"].idxmax()]
    place = pd.MultiIndex.from_frame(best[key]).get_indexer(pd.MultiIndex.from_frame(obs[key]))
    return np.where(place >= 0, best["class"].to_numpy(dtype=object)[place], None)
