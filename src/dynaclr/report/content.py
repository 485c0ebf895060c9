"""What the page says of experiments, collections, trainings and scores: files in, tables out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from dynaclr.io.artifacts import read_json
from dynaclr.report.figures import Figure, read_figures
from dynaclr.report.plan import ReportPlan
from dynaclr.report.tables import Table, measures_table, records_table

# What each family of metrics is shown under, and what to look for; others are shown by their name.
_FAMILIES = {
    "classification": (
        "Linear classifiers",
        "Scores on cells that the classifier was not fitted on, with 95 % intervals over lineages "
        "and, where it is known, the value expected by chance (the thin mark). A model is worth "
        "having where its interval lies above every baseline's on the same cells.",
    ),
    "mixing": (
        "Mixing of experiments",
        "The thin mark is what no relation between place and experiment would give. Read it beside "
        "the classifiers: noise mixes perfectly.",
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
_MAPS = ("embedding",)
_FIRST_SHOWN = {"estimate": "held_out", "metric": "auroc"}
_FILTERS = ("model", "kind", "task", "estimate", "experiment", "metric", "baseline")


class Part(NamedTuple):
    """Something with a name, its tables and its figures.

    Attributes
    ----------
    name, note : str
    tables : list of Table
    figures : list of Figure
    """

    name: str
    note: str
    tables: list[Table]
    figures: list[Figure]


def experiments_table(plan: ReportPlan, results: Path) -> Table:
    """One row an experiment: what it is, how much of it there is, and what was repaired."""
    roles = _roles(plan, results)
    records = []
    for name in plan.experiments:
        summary = read_json(results / "experiments" / name / "summary.json")
        entry, counts = summary["entry"], summary["counts"]
        records.append(
            {
                "experiment": name,
                "role": roles.get(name, "held out"),
                "cells": counts["rows"],
                "tracks": counts["tracks"],
                "lineages": counts["lineages"],
                "divisions": counts["divisions"],
                "fields of view": counts["fovs"],
                "frames": counts["frames"],
                "interval (min)": float(entry["interval_minutes"]),
                "conditions": ", ".join(sorted(entry["condition_wells"])),
                "markers": ", ".join(channel["marker"] for channel in entry["channels"]),
                "repairs": sum(repair["count"] for repair in summary["repairs"].values()),
                "index": summary["digest"][:12],
            }
        )
    return records_table(
        "All experiments",
        "A cell is one observation: a cell in one frame. Bad rows of tracking tables are repaired "
        "by stated rules only, and counted.",
        records,
        "experiments/<experiment>/summary.json",
    )


def _roles(plan: ReportPlan, results: Path) -> dict[str, str]:
    """What experiments are used for, over all collections."""
    found: dict[str, set[str]] = {}
    for collection in plan.collections:
        manifest = read_json(results / "collections" / collection / "manifest.json")
        for name, parts in manifest["experiments"].items():
            used = {role for role in ("train", "validation") if parts[role]["rows"]}
            found.setdefault(name, set()).update(used)
    return {name: " and ".join(sorted(used)) for name, used in found.items()}


def experiment_parts(plan: ReportPlan, results: Path) -> list[Part]:
    """Quality control of each experiment: counts, repairs and figures."""
    return [_experiment_part(name, plan, results) for name in plan.experiments]


def _experiment_part(name: str, plan: ReportPlan, results: Path) -> Part:
    summary = read_json(results / "experiments" / name / "summary.json")
    counts = [
        {"condition": condition, **{_plural(key): value for key, value in values.items()}}
        for condition, values in sorted(summary["counts"]["per_condition"].items())
    ]
    repairs = [
        {"rule": rule.replace("_", " "), "rows": found["count"], "where": _examples(found)}
        for rule, found in sorted(summary["repairs"].items())
    ]
    told = "Nothing had to be repaired." if not repairs else ""
    tables = [records_table("By condition", "", counts)]
    if repairs:
        tables.append(records_table("Repairs", "Rows that broke a rule, by rule.", repairs))
    figures = read_figures(results, plan.figures_in(f"experiments/{name}"))
    return Part(name, told, tables, figures)


def _plural(key: str) -> str:
    return {"rows": "cells", "fovs": "fields of view"}.get(key, key)


def _examples(found: Mapping[str, Any]) -> str:
    """The first places at which a rule was needed."""
    places = [
        f"{place['file']}, line {place['line']}" if "line" in place else place["file"]
        for place in found["examples"]
    ]
    return "; ".join(places[:3])


def collection_parts(plan: ReportPlan, results: Path) -> list[Part]:
    """What each collection holds."""
    parts = []
    for name in plan.collections:
        manifest = read_json(results / "collections" / name / "manifest.json")
        records = [
            {
                "experiment": experiment,
                "cells to train on": rows["train"]["rows"],
                "lineages to train on": rows["train"]["lineages"],
                "cells to validate on": rows["validation"]["rows"],
                "lineages to validate on": rows["validation"]["lineages"],
            }
            for experiment, rows in sorted(manifest["experiments"].items())
        ]
        table = records_table("By experiment", "", records)
        figures = read_figures(results, plan.figures_in(f"collections/{name}"))
        parts.append(Part(name, f"Index {manifest['digest'][:12]}", [table], figures))
    return parts


def training_parts(plan: ReportPlan, results: Path) -> list[Part]:
    """Batches and training curves of each model."""
    parts = []
    for model, seeds in plan.models.items():
        folder = f"models/{model}"
        names = plan.figures_in(folder)
        for seed in seeds:
            names += plan.figures_in(f"{folder}/seed{seed}")
        kept = [_kept_epoch(results / folder / f"seed{seed}", seed) for seed in seeds]
        table = records_table(
            "The epoch that was kept",
            "The one with the least validation loss, and what was measured then.",
            kept,
            f"{folder}/seed<seed>/metrics.csv",
        )
        parts.append(Part(model, "", [table], read_figures(results, names)))
    return parts


def _kept_epoch(folder: Path, seed: int) -> dict[str, Any]:
    best = read_json(folder / "provenance.json")["best_epoch"]
    history = pd.read_csv(folder / "metrics.csv")
    names = [name for name in history if name.endswith("/val")]
    row = history[history["epoch"] == best].iloc[-1]
    measured = {name.removesuffix("/val").replace("_", " "): float(row[name]) for name in names}
    return {"seed": seed, "epoch": int(best), "of": int(history["epoch"].max()) + 1, **measured}


def provenance_parts(plan: ReportPlan, results: Path) -> list[Part]:
    """Which code, packages and data each model comes from."""
    parts = []
    for model, seeds in plan.models.items():
        by_seed = {
            f"seed {seed}": _facts(
                read_json(results / f"models/{model}/seed{seed}/provenance.json")
            )
            for seed in seeds
        }
        keys = list(dict.fromkeys(key for facts in by_seed.values() for key in facts))
        records = [
            {"fact": key, **{seed: facts.get(key, "") for seed, facts in by_seed.items()}}
            for key in keys
        ]
        parts.append(Part(model, "", [records_table("", "", records)], []))
    return parts


def _facts(provenance: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested facts as flat text."""
    flat = {}
    for key, value in provenance.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            flat.update(_facts(value, f"{name}: "))
        else:
            flat[name] = str(value)
    return flat


def read_metrics(plan: ReportPlan, results: Path) -> pd.DataFrame:
    """Metrics of all models under each other; ``family`` says what kind each is."""
    tables = [_read_table(results / "evaluation" / m / "metrics.csv") for m in plan.models]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _read_table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path) if path.is_file() else pd.DataFrame()


def metric_tables(metrics: pd.DataFrame) -> list[Table]:
    """A table for each family of metrics."""
    tables = []
    for family, part in metrics.groupby("family", sort=False) if len(metrics) else []:
        title, caption = _FAMILIES.get(family, (str(family).replace("_", " ").capitalize(), ""))
        tables.append(
            measures_table(
                title,
                caption,
                part.drop(columns=["family", "seed"], errors="ignore"),
                _filters(part),
                "evaluation/<model>/metrics.csv",
            )
        )
    return tables


def difference_tables(plan: ReportPlan, results: Path) -> list[Table]:
    """Each model against its baselines, and models against each other."""
    within = [_read_table(results / "evaluation" / m / "differences.csv") for m in plan.models]
    among = _read_table(results / "comparison" / "differences.csv")
    overall = _read_table(results / "comparison" / "metrics.csv")
    overall = overall.drop(columns="compared", errors="ignore")
    told = [
        (
            "Models against each other",
            "Differences, and what they are paired by. The verdict goes by p corrected for all "
            "contrasts and metrics, so that a 95 % interval beside 0 alone is no difference seen.",
            among,
            "comparison/differences.csv",
        ),
        ("All models", "Metrics over seeds.", overall, "comparison/metrics.csv"),
        (
            "Trained against baselines",
            "Trained minus baseline on the same cells, over the same resamples of lineages. Each "
            "interval is of its own, not corrected for their number: of 20 that differ in nothing "
            "one lies beside 0.",
            pd.concat(within) if within else pd.DataFrame(),
            "evaluation/<model>/differences.csv",
        ),
    ]
    return [
        measures_table(title, caption, table, _filters(table), source)
        for title, caption, table, source in told
        if len(table) and "value" in table
    ]


def comparison_parts(results: Path) -> list[Part]:
    """Figures of models side by side, where they were compared."""
    drawn = sorted((results / "comparison" / "figures").glob("*.svg"))
    names = [str(path.relative_to(results)) for path in drawn]
    return [Part("Models side by side", "", [], read_figures(results, names))] if names else []


def _filters(table: pd.DataFrame) -> dict[str, str]:
    """Columns of few values to filter by; the most asked-for value is chosen where it is there."""
    found = {}
    for name in _FILTERS:
        values = set(table[name].dropna().astype(str)) if name in table else set()
        if 1 < len(values) <= 40:
            first = _FIRST_SHOWN.get(name, "")
            found[name] = first if first in values and not _hides(table, name, first) else ""
    return found


def _hides(table: pd.DataFrame, name: str, value: str) -> bool:
    """Whether an estimate would hide metrics that have none of it, as mixing of few experiments."""
    if name != "estimate" or "metric" not in table:
        return False
    return bool(set(table["metric"]) - set(table.loc[table[name] == value, "metric"]))


def read_curves(plan: ReportPlan, results: Path) -> list[dict[str, Any]]:
    """Metrics over hours, for drawing."""
    tables = [_read_table(results / "evaluation" / m / "curves.csv") for m in plan.models]
    tables = [table for table in tables if len(table)]
    if not tables:
        return []
    curves = pd.concat(tables, ignore_index=True)
    return curves.astype(object).where(curves.notna(), None).to_dict("records")


def average_scores(metrics: pd.DataFrame) -> list[dict[str, Any]]:
    """Mean of each metric over experiments, by model and variant, for the scatter of models."""
    if not len(metrics):
        return []
    keys = ["model", "variant", "kind", "family", "task", "estimate", "metric"]
    filled = metrics.reindex(columns=[*keys, "value"]).dropna(subset="value")
    filled[keys] = filled[keys].fillna("").astype(str)
    means = filled.groupby(keys, sort=False)["value"].agg(["mean", "size"]).reset_index()
    return means.rename(columns={"mean": "value", "size": "n_experiments"}).to_dict("records")


def evaluation_parts(plan: ReportPlan, results: Path, maps: bool) -> list[Part]:
    """Figures of each model's evaluation: those of maps, or the others."""
    parts = []
    for model in plan.models:
        names = plan.figures_in(f"evaluation/{model}")
        names = [name for name in names if (Path(name).stem in _MAPS) == maps]
        if names:
            parts.append(Part(model, "", [], read_figures(results, names)))
    return parts
