"""Sections of the page: experiments, collections, trainings and evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from dynaclr.io.artifacts import read_json, reading
from dynaclr.report.figures import Figure, read_figures
from dynaclr.report.plan import ReportPlan
from dynaclr.report.tables import Table, records_table

# The figure of an evaluation that has a section of its own.
_MAPS = "embedding"


class Part(NamedTuple):
    """What is shown of one experiment, collection or model.

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
                "role": roles[name] or "not used",
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
    """What experiments are used for, over all collections and models; empty for nothing."""
    roles = {name: {"held out"} if name in plan.held_out else set() for name in plan.experiments}
    for collection in plan.collections:
        manifest = read_json(results / "collections" / collection / "manifest.json")
        for name, split in manifest["experiments"].items():
            roles[name] |= {role for role in ("train", "validation") if split[role]["rows"]}
    return {name: " and ".join(sorted(used)) for name, used in roles.items()}


def experiment_parts(plan: ReportPlan, results: Path) -> list[Part]:
    """Quality control of each experiment: counts, repairs and figures."""
    return [_experiment_part(name, plan, results) for name in plan.experiments]


def _experiment_part(name: str, plan: ReportPlan, results: Path) -> Part:
    summary = read_json(results / "experiments" / name / "summary.json")
    titles = {"rows": "cells", "fovs": "fields of view"}
    counts = [
        {"condition": condition, **{titles.get(key, key): n for key, n in counts.items()}}
        for condition, counts in sorted(summary["counts"]["per_condition"].items())
    ]
    tables = [records_table("By condition", "", counts)]
    repairs = []
    for rule, found in sorted(summary["repairs"].items()):
        where = [
            f"{one['file']}, line {one['line']}" if "line" in one else one["file"]
            for one in found["examples"][:3]
        ]
        name_of_rule = rule.replace("_", " ")
        repairs.append({"rule": name_of_rule, "rows": found["count"], "where": "; ".join(where)})
    if repairs:
        tables.append(records_table("Repairs", "Rows that broke a rule, by rule.", repairs))
    note = "" if repairs else "Nothing had to be repaired."
    return Part(name, note, tables, read_figures(results, plan.figures_in(f"experiments/{name}")))


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
    """Batches and training curves of each model, and the epoch that each seed kept."""
    parts = []
    for model, seeds in plan.models.items():
        if model in plan.frozen:
            parts.append(Part(model, "Nothing was trained: it was used as it came.", [], []))
            continue
        folder = f"models/{model}"
        figures, kept = plan.figures_in(folder), []
        for seed in seeds:
            figures += plan.figures_in(f"{folder}/seed{seed}")
            best = read_json(results / folder / f"seed{seed}" / "provenance.json")["best_epoch"]
            path = results / folder / f"seed{seed}" / "metrics.csv"
            with reading(path):
                history = pd.read_csv(path)
                row = history[history["epoch"] == best].iloc[-1]
            n_epochs = int(history["epoch"].max()) + 1
            measured = {
                name.removesuffix("/val").replace("_", " "): float(row[name])
                for name in history
                if name.endswith("/val")
            }
            kept.append({"seed": seed, "epoch": int(best), "of": n_epochs, **measured})
        table = records_table(
            "The epoch that was kept",
            "The one with the least validation loss, and what was measured then.",
            kept,
            f"{folder}/seed<seed>/metrics.csv",
        )
        parts.append(Part(model, "", [table], read_figures(results, figures)))
    return parts


def provenance_parts(plan: ReportPlan, results: Path) -> list[Part]:
    """Which code, packages and data each model comes from; a column a seed."""
    parts = []
    for model, seeds in plan.models.items():
        by_seed = {
            f"seed {seed}": _flatten(
                read_json(results / f"models/{model}/seed{seed}/provenance.json")
            )
            for seed in seeds
        }
        names = dict.fromkeys(name for facts in by_seed.values() for name in facts)
        records = [
            {"fact": name, **{seed: facts.get(name, "") for seed, facts in by_seed.items()}}
            for name in names
        ]
        parts.append(Part(model, "", [records_table("", "", records)], []))
    return parts


def _flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested values as text, each with the names that lead to it."""
    flat = {}
    for key, value in nested.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            flat.update(_flatten(value, f"{name}: "))
        else:
            flat[name] = str(value)
    return flat


def comparison_parts(plan: ReportPlan, results: Path) -> list[Part]:
    """Figures of models side by side, where they were compared."""
    if not plan.comparison:
        return []
    drawn = sorted((results / "comparison" / "figures").glob("*.svg"))
    names = [str(path.relative_to(results)) for path in drawn]
    return [Part("Models side by side", "", [], read_figures(results, names))]


def evaluation_parts(plan: ReportPlan, results: Path, maps: bool) -> list[Part]:
    """Figures of each model's evaluation: its maps, or the others."""
    parts = []
    for model in plan.models:
        figures = plan.figures_in(f"evaluation/{model}")
        names = [name for name in figures if (Path(name).stem == _MAPS) == maps]
        if names:
            parts.append(Part(model, "", [], read_figures(results, names)))
    return parts
