"""Evaluation of a model by its embeddings: tables, maps and one sentence."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dynaclr.config import EvaluationConfig
from dynaclr.config.columns import MARKER
from dynaclr.config.metrics import INCLUDES_TRAINING, POOLED, join_notes, metric_info
from dynaclr.evaluation import tables
from dynaclr.evaluation.classifiers.label_shuffling import null_rows
from dynaclr.evaluation.classifiers.learning_curve import learning_curve
from dynaclr.evaluation.classifiers.scoring import TaskScores, score_task
from dynaclr.evaluation.control_distance_scores import control_distance_rows
from dynaclr.evaluation.headline import summarize
from dynaclr.evaluation.health_scores import health_rows
from dynaclr.evaluation.inputs import EvaluationInputs, prepare_inputs
from dynaclr.evaluation.label_tables import LabelPaths
from dynaclr.evaluation.maps import make_maps, write_maps
from dynaclr.evaluation.mixing_scores import mixing_rows
from dynaclr.evaluation.onset_scores import onset_rows
from dynaclr.evaluation.response_scores import response_rows
from dynaclr.evaluation.tables import Row, Rows, digest_of_rows, join_tables, write_csv
from dynaclr.evaluation.temporal_scores import temporal_rows
from dynaclr.io.artifacts import atomic_path, write_json
from dynaclr.io.embeddings import key_of, read_embeddings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Results:
    """Tables of one model before they are written; an empty one has no columns."""

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
        Seed of folds, resamples, subsamples and UMAP.
    max_cells : int
        Most observations in ``maps.h5ad``.

    Returns
    -------
    dict
        The content of ``headline.json``.

    Raises
    ------
    UserError
        When stores, tables or tasks do not fit each other.
    """
    embeddings = read_embeddings(stores)
    inputs = prepare_inputs(
        embeddings, labels, config, train_experiments, held_out_experiments, seed
    )
    scores = []
    for task, task_rows in inputs.tasks:
        logger.info("classifiers of task %s", task.name)
        scores.append(
            score_task(
                *(inputs.embeddings, task, task_rows, inputs.train, inputs.held_out),
                *(config.bootstrap, seed),
            )
        )
    results = _compute_metrics(inputs, scores)
    headline = {"model": model, **summarize(scores)}
    out_dir = Path(out_dir)
    _write_tables(out_dir, model, scores, results)
    write_csv(
        out_dir / "cells.csv", _observations(inputs).assign(model=model), tables.OBSERVATION_COLUMNS
    )
    maps = make_maps(inputs.embeddings, _classes(inputs, scores), max_cells, seed)
    write_maps(maps, out_dir / "maps.h5ad")
    write_json(out_dir / "headline.json", headline)
    return headline


def _compute_metrics(inputs: EvaluationInputs, scores: list[TaskScores]) -> _Results:
    """All metrics: the classifiers' scores, and those of each variant."""
    metrics: list[Row] = [row for of in scores for row in of.metric_rows()]
    curves: list[Row] = []
    learning, onsets = [], []
    for (task, task_rows), of_task in zip(inputs.tasks, scores, strict=True):
        logger.info("shuffled labels and learning curve of task %s", task.name)
        given = (inputs.embeddings, task_rows, of_task, inputs.train, inputs.uncorrected)
        null = null_rows(*given, inputs.config.shuffles, inputs.seed)
        metrics += [{**row, "task": task.name} for row in null]
        learning.append(learning_curve(*given, inputs.seed).assign(task=task.name))
    for variant in inputs.variants:
        logger.info("mixing, time, kinetics and health of %s", variant.name)
        onset_metrics, onset_table = onset_rows(inputs, variant)
        parts = [
            Rows(mixing_rows(inputs, variant), []),
            *(
                response_rows(inputs, variant, task_rows, of_task)
                for (_, task_rows), of_task in zip(inputs.tasks, scores, strict=True)
            ),
            temporal_rows(inputs, variant),
            control_distance_rows(inputs, variant),
            health_rows(inputs, variant),
            Rows(onset_metrics, []),
        ]
        metrics += [row for part in parts for row in part.metrics]
        curves += [row for part in parts for row in part.curves]
        onsets.append(onset_table)
    return _Results(
        metrics=_with_notes(inputs, pd.DataFrame(metrics)),
        curves=pd.DataFrame(curves),
        learning=join_tables(learning),
        onsets=join_tables(onsets),
    )


def _with_notes(inputs: EvaluationInputs, metrics: pd.DataFrame) -> pd.DataFrame:
    """Metrics with what their rows share: notes on corrections and on rows of training."""
    on_variant = {variant.name: inputs.note_on(variant.correction) for variant in inputs.variants}
    on_estimate = {POOLED: INCLUDES_TRAINING}
    columns = zip(metrics["note"], metrics["variant"], metrics["estimate"], strict=True)
    notes = [
        join_notes(note, on_variant[variant], on_estimate.get(estimate, ""))
        for note, variant, estimate in columns
    ]
    infos = [metric_info(metric) for metric in metrics["metric"]]
    return metrics.assign(
        note=notes,
        family=[info.family for info in infos],
        better=[info.better for info in infos],
    )


def _write_tables(out_dir: Path, model: str, scores: list[TaskScores], results: _Results) -> None:
    def of_all_tasks(name: str) -> pd.DataFrame:
        return join_tables(
            [getattr(s.tables, name).assign(task=s.task.name, label=s.task.label) for s in scores]
        )

    onset_columns = _with_marker(tables.ONSET_COLUMNS, results.onsets)
    for name, table, columns in (
        ("metrics", results.metrics, tables.METRIC_COLUMNS),
        ("curves", results.curves, tables.CURVE_COLUMNS),
        ("differences", of_all_tasks("differences"), tables.DIFFERENCE_COLUMNS),
        ("confusion", of_all_tasks("confusion"), tables.CONFUSION_COLUMNS),
        ("reliability", of_all_tasks("reliability"), tables.RELIABILITY_COLUMNS),
        ("learning", results.learning, tables.LEARNING_COLUMNS),
        ("onsets", results.onsets, onset_columns),
    ):
        write_csv(out_dir / f"{name}.csv", table.assign(model=model), columns)
    predictions = join_tables([s.predictions.assign(task=s.task.name) for s in scores])
    with atomic_path(out_dir / "predictions.parquet") as temporary:
        _typed_predictions(predictions.assign(model=model)).to_parquet(temporary, index=False)
    with atomic_path(out_dir / "resampled.parquet") as temporary:
        _resampled(results.metrics.assign(model=model)).to_parquet(temporary, index=False)


def _with_marker(columns: list[str], table: pd.DataFrame) -> list[str]:
    """Columns to write: with the marker after the frame or track, where the table has markers."""
    if MARKER not in table:
        return columns
    position = columns.index("t" if "t" in columns else "track_id") + 1
    return [*columns[:position], MARKER, *columns[position:]]


def _typed_predictions(predictions: pd.DataFrame) -> pd.DataFrame:
    """Predictions with column types that are the same without any row."""
    columns = _with_marker(tables.PREDICTION_COLUMNS, predictions)
    types = dict.fromkeys(columns, "string")
    types |= dict.fromkeys(["track_id", "t", "lineage_id", "group"], "int64")
    types |= dict.fromkeys(["hours", "probability"], "float64")
    return predictions.reindex(columns=columns).astype(types)


def _resampled(metrics: pd.DataFrame) -> pd.DataFrame:
    """Values on resampled lineages of uncorrected variants, by which models are paired."""
    uncorrected = ~metrics["kind"].str.contains("+", regex=False)
    known = metrics[uncorrected & metrics["resampled"].notna()]
    columns = tables.RESAMPLED_COLUMNS
    types = {**dict.fromkeys(columns[1:-2], "string"), "n_lineages": "int64"}
    return known.rename(columns={"resampled": "values"}).reindex(columns=columns).astype(types)


def _observations(inputs: EvaluationInputs) -> pd.DataFrame:
    """Number of observations of each experiment, and a digest of which they are."""
    key = [*key_of(inputs.obs), "lineage_id"]
    return pd.DataFrame(
        [
            {
                "experiment": name,
                "held_out": name in inputs.held_out,
                "n_rows": len(part),
                "n_lineages": len(part[["fov", "lineage_id"]].drop_duplicates()),
                "digest": digest_of_rows(part[key]),
            }
            for name, part in inputs.obs.groupby("experiment", sort=True)
        ]
    )


def _classes(inputs: EvaluationInputs, scores: list[TaskScores]) -> dict[str, np.ndarray]:
    """Of each task the known class of every observation, and the predicted one where scored."""
    columns = {}
    for (task, task_rows), of_task in zip(inputs.tasks, scores, strict=True):
        known = np.full(len(inputs.obs), None, dtype=object)
        known[task_rows.rows] = task_rows.labels
        columns[f"{task.name} ({task.source})"] = known
        predictions = of_task.predictions
        if len(predictions):
            first = predictions[predictions["variant"] == inputs.variants[0].name]
            columns[f"{task.name} (predicted)"] = _most_probable(first, inputs.obs)
    return columns


def _most_probable(predictions: pd.DataFrame, obs: pd.DataFrame) -> np.ndarray:
    """Most probable class of each observation, object, None where it was not predicted."""
    key = key_of(obs)
    best = predictions.loc[predictions.groupby(key)["probability"].idxmax()]
    row = pd.MultiIndex.from_frame(best[key]).get_indexer(pd.MultiIndex.from_frame(obs[key]))
    classes = np.full(len(obs), None, dtype=object)
    classes[row >= 0] = best["class"].to_numpy(dtype=object)[row[row >= 0]]
    return classes
