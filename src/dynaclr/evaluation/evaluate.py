"""Judge a model by its embeddings: tables, figures and one sentence."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dynaclr.evaluation import embedding_figures, figures
from dynaclr.evaluation.classification import TaskScores, score_task
from dynaclr.evaluation.headline import summarize
from dynaclr.evaluation.mixing import mixing_scores
from dynaclr.evaluation.stores import KEY, Cohort, read_cohort
from dynaclr.evaluation.tasks import LabelPaths, TaskRows, group_codes, select_task
from dynaclr.evaluation.variants import ordered_variants
from dynaclr.experiments import UserError
from dynaclr.experiments.files import atomic_path, write_json
from dynaclr.experiments.project import TaskConfig
from dynaclr.experiments.registry import nearest

logger = logging.getLogger(__name__)

_PLACE = ["model", "variant", "kind", "seed"]
METRIC_COLUMNS = [
    *_PLACE,
    *("task", "estimate", "experiment", "metric", "value", "low", "high"),
    *("n_rows", "n_lineages", "n_positive", "note"),
]
DIFFERENCE_COLUMNS = [
    *("model", "task", "estimate", "experiment", "metric", "baseline", "value", "low", "high"),
    *("n_seeds", "n_rows", "n_lineages", "note"),
]
CONFUSION_COLUMNS = [*_PLACE, "task", "estimate", "experiment", "true", "predicted", "count"]
MIXING_COLUMNS = [
    *_PLACE,
    *("metric", "value", "expected", "n_rows", "n_experiments", "note"),
]
PREDICTION_COLUMNS = [
    *("model", "variant", "task", *KEY, "hours", "label", "class", "probability"),
]


def evaluate_model(
    model: str,
    stores: Mapping[str, Mapping[str, str | Path]],
    labels: LabelPaths,
    tasks: Sequence[TaskConfig],
    train_experiments: Sequence[str],
    held_out_experiments: Sequence[str],
    out_dir: str | Path,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Score a model's embeddings and its baselines on the same rows; write tables and figures.

    Parameters
    ----------
    model : str
        Name, a column of the tables.
    stores : mapping
        Variant (``seed0``, ``seed0-untrained``, ``intensity``) to experiment to embedding store.
    labels : mapping
        Experiment to the paths of its label tables, ``annotations`` and ``truth``; None or
        absent where it has none.
    tasks : sequence of TaskConfig
        Classifiers to train and score.
    train_experiments : sequence of str
        Classifiers are fitted on these together and cross-validated within them.
    held_out_experiments : sequence of str
        Classifiers are scored on each of these.
    out_dir : str or Path
        Gets ``metrics.csv``, ``differences.csv``, ``confusion.csv``, ``mixing.csv``,
        ``predictions.parquet``, ``classifiers.svg``, ``roc.svg``, ``confusion.svg``,
        ``mixing.svg``, ``embedding.png`` and last ``headline.json``.
    n_bootstrap : int
        Resamples of lineages behind each interval.
    seed : int
        Decides folds, resamples, subsamples and UMAP.

    Returns
    -------
    dict
        The content of ``headline.json``.

    Raises
    ------
    UserError
        When stores, tables or tasks do not fit each other.
    """
    cohort = read_cohort(stores)
    train, held_out = list(train_experiments), list(held_out_experiments)
    _check_experiments(cohort, train, held_out)
    selected = [select_task(cohort.obs, task, labels) for task in tasks]
    scores = []
    for task, rows in zip(tasks, selected, strict=True):
        logger.info("classifiers of task %s", task.name)
        scores.append(score_task(cohort, task, rows, train, held_out, n_bootstrap, seed))
    logger.info("mixing of experiments")
    mixing = _mixing_table(cohort, seed)
    headline = {"model": model, **summarize(scores)}
    out_dir = Path(out_dir)
    _write_tables(out_dir, model, scores, mixing)
    logger.info("figures")
    figures.draw_mixing(mixing, out_dir / "mixing.svg")
    _draw(out_dir, cohort, tasks, selected, scores, seed)
    write_json(out_dir / "headline.json", headline)
    return headline


def _check_experiments(cohort: Cohort, train: list[str], held_out: list[str]) -> None:
    known = sorted(cohort.obs["experiment"].unique())
    for name in [*train, *held_out]:
        if name not in known:
            raise UserError(
                f"evaluation: no embedding store of experiment {name!r} was given. "
                f"{nearest(name, known)}."
            )
    both = sorted(set(train) & set(held_out))
    if both:
        raise UserError(
            f"evaluation: {', '.join(both)} is both trained on and held out. Leave it in one."
        )
    if not train:
        raise UserError("evaluation: no experiment to train classifiers on. Name at least one.")


def _mixing_table(cohort: Cohort, seed: int) -> pd.DataFrame:
    experiments = cohort.obs["experiment"].to_numpy(dtype=object)
    groups = group_codes(cohort.obs, "lineage")
    return pd.DataFrame(
        {
            **{"variant": variant.name, "kind": variant.kind, "seed": variant.seed},
            "metric": metric,
            **score._asdict(),
            "n_experiments": len(set(experiments)),
        }
        for variant in ordered_variants(cohort.features)
        for metric, score in mixing_scores(
            cohort.features[variant.name], experiments, groups, seed=seed
        ).items()
    )


def _write_tables(
    out_dir: Path, model: str, scores: list[TaskScores], mixing: pd.DataFrame
) -> None:
    def of_all(name: str) -> pd.DataFrame:
        tables = [getattr(s.tables, name).assign(task=s.task.name) for s in scores]
        filled = [table for table in tables if len(table)]
        return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()

    _write_csv(out_dir / "metrics.csv", of_all("metrics"), METRIC_COLUMNS, model)
    _write_csv(out_dir / "differences.csv", of_all("differences"), DIFFERENCE_COLUMNS, model)
    _write_csv(out_dir / "confusion.csv", of_all("confusion"), CONFUSION_COLUMNS, model)
    _write_csv(out_dir / "mixing.csv", mixing, MIXING_COLUMNS, model)
    filled = [s.predictions.assign(task=s.task.name) for s in scores if len(s.predictions)]
    predictions = pd.concat(filled) if filled else pd.DataFrame(columns=PREDICTION_COLUMNS)
    with atomic_path(out_dir / "predictions.parquet") as temporary:
        _typed(predictions.assign(model=model)).to_parquet(temporary, index=False)


def _write_csv(path: Path, table: pd.DataFrame, columns: list[str], model: str) -> None:
    table = table.assign(model=model).reindex(columns=columns)
    for column in ("seed", "n_positive"):
        if column in table:
            table[column] = table[column].astype("Int64")
    with atomic_path(path) as temporary:
        # Six digits: what lies beyond differs between processors and means nothing.
        table.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")


def _typed(predictions: pd.DataFrame) -> pd.DataFrame:
    """Column types that do not depend on whether there is any row."""
    whole, real = ["track_id", "t"], ["hours", "probability"]
    text = [name for name in PREDICTION_COLUMNS if name not in (*whole, *real)]
    types = {**dict.fromkeys(whole, "int64"), **dict.fromkeys(real, "float64")}
    return predictions[PREDICTION_COLUMNS].astype({**types, **dict.fromkeys(text, "string")})


def _draw(
    out_dir: Path,
    cohort: Cohort,
    tasks: Sequence[TaskConfig],
    selected: list[TaskRows],
    scores: list[TaskScores],
    seed: int,
) -> None:
    figures.draw_classifiers(scores, out_dir / "classifiers.svg")
    figures.draw_roc(scores, out_dir / "roc.svg")
    figures.draw_confusion(scores, out_dir / "confusion.svg")
    task_labels = {}
    for task, rows in zip(tasks, selected, strict=True):
        values = np.full(len(cohort.obs), None, dtype=object)
        values[rows.rows] = rows.labels
        task_labels[f"{task.name} ({task.source})"] = values
    embedding_figures.draw_embeddings(cohort, task_labels, out_dir, seed)
