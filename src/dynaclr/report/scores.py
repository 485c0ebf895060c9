"""Tables of metrics and of differences, from the tables of evaluations and of the comparison."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from dynaclr.config.metrics import HELD_OUT
from dynaclr.io.artifacts import reading
from dynaclr.io.metric_tables import read_metrics
from dynaclr.report.plan import ReportPlan
from dynaclr.report.tables import Table, metric_table

# Title and explanation of each family of metrics; others are shown by their name.
_FAMILIES = {
    "classification": (
        "Linear classifiers",
        "Scores on cells that the classifier was not fitted on, with 95 % intervals over lineages "
        "and, where it is known, the value expected by chance (the thin mark). A model is worth "
        "having where its interval lies above every baseline's on the same cells. A supervised "
        "ceiling, where there is one, has learned from labels; the way to it says what is left.",
    ),
    "mixing": (
        "Mixing of experiments",
        "The thin mark is what no relation between features and experiment would give. Read it "
        "beside the classifiers: noise mixes perfectly.",
    ),
    "resolution": (
        "Responses within condition and hour",
        "Cells of one condition in one window of hours, and sisters: the hour gives nothing away.",
    ),
    "temporal": (
        "Movement over time",
        "Pooled over experiments these reward batch effects: compare within an experiment.",
    ),
    "kinetics": (
        "Distance to the control",
        "How far conditions are apart, beside what permuted conditions give.",
    ),
    "health": (
        "Health of the embedding",
        "Whether the embedding uses its dimensions, and what lies next to what.",
    ),
}
_FILTERS = ("model", "kind", "task", "estimate", "experiment", "metric", "baseline")
_CHOSEN_AT_FIRST = {"estimate": HELD_OUT, "metric": "auroc"}
_MAX_FILTER_VALUES = 40


def metrics_of_models(plan: ReportPlan, results: Path) -> pd.DataFrame:
    """Metrics of all models under each other; the column ``family`` says what kind each is.

    Parameters
    ----------
    plan : ReportPlan
    results : Path
        The results folder.

    Raises
    ------
    UserError
        When a table is missing, damaged, or has a metric that this version does not know.
    """
    files = (results / "evaluation" / model / "metrics.csv" for model in plan.models)
    return _read_tables(read_metrics, *files)


def _read_tables(read: Callable[[Path], pd.DataFrame], *paths: Path) -> pd.DataFrame:
    """Tables under each other."""
    tables = [read(path) for path in paths]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _read_differences(path: Path) -> pd.DataFrame:
    with reading(path):
        table = pd.read_csv(path)
        return table.astype({"value": float})


def metric_tables(metrics: pd.DataFrame) -> list[Table]:
    """A table for each family of metrics."""
    tables = []
    for family, part in metrics.groupby("family", sort=False) if len(metrics) else []:
        title, caption = _FAMILIES.get(family, (str(family).replace("_", " ").capitalize(), ""))
        shown = part.drop(columns=["family", "seed"], errors="ignore")
        source = "evaluation/<model>/metrics.csv"
        tables.append(metric_table(title, caption, shown, _filters(part), source))
    return tables


def difference_tables(plan: ReportPlan, results: Path) -> list[Table]:
    """Each model against its baselines, and models against each other, where there are such.

    Parameters
    ----------
    plan : ReportPlan
    results : Path
        The results folder.

    Raises
    ------
    UserError
        When a table is missing or damaged.
    """
    compared = [results / "comparison"] if plan.comparison else []
    within = [results / "evaluation" / model / "differences.csv" for model in plan.models]
    overall = _read_tables(read_metrics, *(folder / "metrics.csv" for folder in compared))
    overall = overall.drop(columns="compared", errors="ignore")
    candidates = [
        (
            "Models against each other",
            "Differences, and what they are paired by. The verdict goes by p corrected for all "
            "contrasts and metrics, so that a 95 % interval beside 0 alone is no difference seen.",
            _read_tables(_read_differences, *(f / "differences.csv" for f in compared)),
            "comparison/differences.csv",
        ),
        ("All models", "Metrics over seeds.", overall, "comparison/metrics.csv"),
        (
            "Trained against baselines",
            "Trained minus baseline on the same cells, over the same resamples of lineages. Each "
            "interval is of its own, not corrected for their number: of 20 that differ in nothing "
            "one lies beside 0.",
            _read_tables(_read_differences, *within),
            "evaluation/<model>/differences.csv",
        ),
    ]
    return [
        metric_table(title, caption, table, _filters(table), source)
        for title, caption, table, source in candidates
        if len(table)
    ]


def average_scores(metrics: pd.DataFrame) -> list[dict[str, Any]]:
    """Mean of each metric over experiments, by model and variant, for the scatter of models."""
    if not len(metrics):
        return []
    keys = ["model", "variant", "kind", "family", "task", "estimate", "metric"]
    filled = metrics.reindex(columns=[*keys, "value"]).dropna(subset="value")
    filled[keys] = filled[keys].fillna("").astype(str)
    means = filled.groupby(keys, sort=False)["value"].agg(["mean", "size"]).reset_index()
    return means.rename(columns={"mean": "value", "size": "n_experiments"}).to_dict("records")


def _filters(table: pd.DataFrame) -> dict[str, str]:
    """Columns of few values to filter by, each with the value that is chosen at first, or ""."""
    filters = {}
    for name in _FILTERS:
        values = set(table[name].dropna().astype(str)) if name in table else set()
        if 1 < len(values) <= _MAX_FILTER_VALUES:
            first = _CHOSEN_AT_FIRST.get(name, "")
            if name == "estimate" and "metric" in table:
                # Metrics without this estimate, as mixing of few experiments, would be hidden.
                with_it = set(table.loc[table[name] == first, "metric"])
                first = first if set(table["metric"]) == with_it else ""
            filters[name] = first if first in values else ""
    return filters
