"""Models side by side: one table of all metrics, and contrasts with verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from dynaclr.config import ComparisonConfig, UserError
from dynaclr.config.errors import did_you_mean
from dynaclr.config.metrics import ALL, HELD_OUT, INCLUDES_TRAINING, POOLED, fact_of, join_notes
from dynaclr.evaluation.classifiers.score_tables import METRICS
from dynaclr.evaluation.evaluate import digest_of_rows, write_csv
from dynaclr.evaluation.metrics.bootstrap import cluster_bootstrap, seed_of
from dynaclr.evaluation.metrics.classification import classification_scores
from dynaclr.evaluation.metrics.uncertainty import (
    NOT_RESAMPLED,
    Estimate,
    Values,
    adjust,
    estimate_difference,
    estimate_mean,
)
from dynaclr.io.embeddings import key_of

# The main metric of each question, as far as it was measured.
MAIN_METRICS = (
    *("auroc", "average_precision", "window_auroc", "sister_auroc", "progression_r2", "mmd_z"),
    *("onset_error_hours", "matched_ilisi", "matched_experiment_auroc", "isolated_state_auroc"),
    *("scib_total", "smoothness", "effective_rank"),
)
N_RESAMPLES = 500
LEVEL = 0.05
# Names may be all digits, a date for example, or read "NA".
_NAMES = {"model": str, "experiment": str, "digest": str}
KEY = ["model", "kind", "task", "estimate", "metric"]
METRIC_COLUMNS = [
    *(*KEY, "value", "low", "high", "per_seed", "n_seeds", "n_experiments", "n_lineages"),
    *("expected", "family", "better", "compared", "note"),
]
DIFFERENCE_COLUMNS = [
    *("first", "second", "task", "estimate", "metric", "value", "low", "high", "p", "p_corrected"),
    *("n_seeds", "paired", "family", "better", "verdict", "note"),
]


@dataclass(frozen=True)
class _Sample:
    """One metric of one kind of variant of one model.

    ``per_seed`` maps seeds (None for baselines without one) to the mean over experiments,
    ``resampled`` likewise to values on resampled lineages. ``cells`` maps experiments to what
    tells their rows; ``note`` says what was left out.
    """

    per_seed: dict[int | None, float]
    resampled: dict[int | None, np.ndarray]
    n_experiments: int
    n_lineages: int
    expected: float
    cells: dict[str, str]
    note: str

    def values(self, seeds: Sequence[int | None]) -> Values:
        """What is known of the mean over some seeds."""
        per_seed = [self.per_seed[seed] for seed in seeds]
        if not self.resampled:
            return Values(per_seed)
        resampled = np.mean([self.resampled[seed] for seed in seeds], axis=0)
        return Values(per_seed, resampled, self.n_lineages)


@dataclass(frozen=True)
class _Evaluation:
    """Tables of one model's evaluation."""

    metrics: pd.DataFrame
    predictions: pd.DataFrame
    resampled: pd.DataFrame
    cells: pd.DataFrame


class _Resampled(NamedTuple):
    """Values on resampled lineages of one experiment, and how many lineages there are."""

    values: np.ndarray
    n_lineages: int


def compare_models(
    evaluations: Mapping[str, str | Path], config: ComparisonConfig, out_dir: str | Path
) -> pd.DataFrame:
    """Compare evaluated models and write the tables.

    Values are means over held-out experiments, then over seeds. Intervals are over seeds and, for
    scores of classifiers, resolution, progression and onsets, lineages
    (`uncertainty.estimate_mean`). Differences are paired by seed, and by lineage, where the two
    models were scored on the very same cells; else the variances of both add up, and column
    ``paired`` says "no". p values are corrected over all contrasts and compared metrics
    (`uncertainty.adjust`).

    Parameters
    ----------
    evaluations : mapping
        Model to its folder of `evaluate_model`.
    config : ComparisonConfig
        Contrasts and the metrics that are compared.
    out_dir : str or Path
        Gets ``metrics.csv``, whose column ``compared`` says which metrics are contrasted, and
        ``differences.csv``.

    Returns
    -------
    pandas.DataFrame
        The differences.

    Raises
    ------
    UserError
        When a model was not evaluated, or a metric or model of the configuration is not known.
    """
    tables = {model: _read(Path(folder), model) for model, folder in evaluations.items()}
    samples: dict[tuple[str, ...], _Sample] = {}
    for model, evaluation in tables.items():
        samples |= _samples(model, evaluation)
    compared = _compared_metrics(config, samples)
    metrics = pd.DataFrame([_metric_row(key, sample, compared) for key, sample in samples.items()])
    differences = _differences(samples, contrasts_of(config, list(evaluations)), compared)
    out_dir = Path(out_dir)
    write_csv(out_dir / "metrics.csv", metrics, METRIC_COLUMNS)
    write_csv(out_dir / "differences.csv", differences, DIFFERENCE_COLUMNS)
    return differences


def contrasts_of(config: ComparisonConfig, models: list[str]) -> list[tuple[str, str]]:
    """Pairs of models to compare: those configured, else every model with the first."""
    return list(config.contrasts) or [(model, models[0]) for model in models[1:]]


def _read(folder: Path, model: str) -> _Evaluation:
    for name in ("metrics.csv", "cells.csv", "predictions.parquet", "resampled.parquet"):
        if not (folder / name).is_file():
            raise UserError(f"{folder / name}: no such file. Evaluate model {model!r} first.")
    return _Evaluation(
        metrics=pd.read_csv(
            folder / "metrics.csv", keep_default_na=False, na_values=[""], dtype=_NAMES
        ),
        predictions=pd.read_parquet(folder / "predictions.parquet"),
        resampled=pd.read_parquet(folder / "resampled.parquet"),
        cells=pd.read_csv(folder / "cells.csv", keep_default_na=False, dtype=_NAMES),
    )


def _compared_metrics(
    config: ComparisonConfig, samples: Mapping[tuple[str, ...], _Sample]
) -> list[str]:
    known = sorted({key[-1].partition(":")[0] for key in samples})
    for metric in config.metrics:
        if metric not in known:
            raise UserError(
                f"comparison.metrics: no model was measured by {metric!r}. "
                f"{did_you_mean(metric, known)}."
            )
    return list(config.metrics) or [metric for metric in MAIN_METRICS if metric in known]


def _samples(model: str, evaluation: _Evaluation) -> dict[tuple[str, ...], _Sample]:
    """Every metric on held-out experiments or on all of them, by kind of variant."""
    metrics = evaluation.metrics[evaluation.metrics["estimate"].isin([HELD_OUT, POOLED])]
    metrics = metrics.assign(task=metrics["task"].fillna(""))
    resampled = _resample(evaluation.predictions) | _stored(evaluation.resampled)
    labelled = _labelled(evaluation.predictions)
    samples = {}
    for (kind, task, estimate, metric), rows in metrics.groupby(
        ["kind", "task", "estimate", "metric"], sort=True
    ):
        variants = rows.drop_duplicates("variant").set_index("variant")["seed"]
        seeds = {name: None if pd.isna(seed) else int(seed) for name, seed in variants.items()}
        per_variant = rows.groupby("variant", sort=True)["value"].mean()
        of_seeds, n_lineages = _of_seeds(resampled, seeds, (task, estimate, metric))
        samples[model, kind, task, estimate, metric] = _Sample(
            per_seed={seeds[name]: float(value) for name, value in per_variant.items()},
            resampled=of_seeds,
            n_experiments=rows["experiment"].nunique(),
            n_lineages=n_lineages,
            expected=float(rows["expected"].mean()),
            cells=_cells(evaluation.cells, labelled, rows, (task, estimate)),
            note=_left_out(rows),
        )
    return samples


def _of_seeds(
    resampled: Mapping[tuple[str, ...], Sequence[_Resampled]],
    seeds: Mapping[str, int | None],
    place: tuple[str, ...],
) -> tuple[dict[int | None, np.ndarray], int]:
    """Means over experiments on resampled lineages by seed, and how many lineages there are.

    An experiment without values (it has a single class) is left out; empty where a seed has none.
    """
    parts = {
        seed: [part for part in resampled.get((name, *place), ()) if np.isfinite(part.values).any()]
        for name, seed in seeds.items()
    }
    if not all(parts.values()):
        return {}, 0
    means = {seed: np.mean([part.values for part in of], axis=0) for seed, of in parts.items()}
    return means, sum(part.n_lineages for part in next(iter(parts.values())))


def _left_out(rows: pd.DataFrame) -> str:
    """Which experiments have no value, where others do."""
    without = rows.loc[rows["value"].isna(), "experiment"].unique()
    some = len(without) and rows["value"].notna().any()
    return f"no value of {', '.join(without)}: left out" if some else ""


def _cells(
    cells: pd.DataFrame,
    labelled: Mapping[tuple[str, str], str],
    rows: pd.DataFrame,
    place: Sequence[str],
) -> dict[str, str]:
    """What tells the cells that a metric was computed on, by experiment.

    All cells of the experiment and, of a task, those that are labelled and how.
    """
    task, estimate = place
    named = set(rows["experiment"])
    chosen = cells[cells["held_out"]] if estimate == HELD_OUT else cells
    return {
        name: digest + labelled.get((task, name), "")
        for name, digest in zip(chosen["experiment"], chosen["digest"], strict=True)
        if {name, ALL} & named
    }


def _labelled(predictions: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Digest of the labelled held-out rows of each task and experiment, and of their labels."""
    key = [*key_of(predictions), "label"]
    known = predictions[predictions["label"].notna()].drop_duplicates(["task", *key])
    return {
        place: digest_of_rows(part[key].sort_values(key))
        for place, part in known.groupby(["task", "experiment"], sort=True)
    }


def _stored(table: pd.DataFrame) -> dict[tuple[str, ...], list[_Resampled]]:
    """Values that the evaluation resampled, by (variant, task, estimate, metric)."""
    found: dict[tuple[str, ...], list[_Resampled]] = {}
    for row in table.assign(task=table["task"].fillna("")).to_dict("records"):
        place = tuple(row[name] for name in ("variant", "task", "estimate", "metric"))
        part = _Resampled(np.asarray(row["values"]), row["n_lineages"])
        found.setdefault(place, []).append(part)
    return found


def _resample(predictions: pd.DataFrame) -> dict[tuple[str, ...], list[_Resampled]]:
    """Scores on resampled lineages of each experiment, by (variant, task, estimate, metric).

    The same cells are resampled alike in every variant and model, so that differences are paired,
    and those of another experiment otherwise (`bootstrap.seed_of`).
    """
    corrected = predictions["variant"].str.contains("+", regex=False)
    known = predictions[predictions["label"].notna() & ~corrected]
    found: dict[tuple[str, ...], list[_Resampled]] = {}
    for (task, experiment), part in known.groupby(["task", "experiment"], sort=True):
        classes = tuple(sorted(part["class"].unique()))
        part = part[part["label"].isin(classes)]
        key = [name for name in key_of(part) if name != "experiment"]
        rows = part.drop_duplicates(key).sort_values(key)
        clusters = rows.groupby(["fov", "lineage_id"], sort=True).ngroup().to_numpy()
        true = np.searchsorted(np.array(classes), rows["label"].to_numpy(str))
        for variant, of_variant in part.groupby("variant", sort=True):
            wide = of_variant.pivot(index=key, columns="class", values="probability").sort_index()
            probability = wide[list(classes)].to_numpy()
            statistics = partial(classification_scores, true, probability, classes)
            resampled = cluster_bootstrap(statistics, clusters, N_RESAMPLES, seed_of(experiment))
            for metric in METRICS:
                told = _Resampled(resampled[metric], len(np.unique(clusters)))
                found.setdefault((variant, task, HELD_OUT, metric), []).append(told)
    return found


def _metric_row(
    key: tuple[str, ...], sample: _Sample, compared: Sequence[str]
) -> dict[str, object]:
    seeds = list(sample.per_seed)
    told = estimate_mean(*sample.values(seeds))
    fact = fact_of(key[-1])
    return {
        **dict(zip(KEY, key, strict=True)),
        **{"value": told.value, "low": told.low, "high": told.high},
        "note": join_notes(told.note, sample.note, INCLUDES_TRAINING if key[3] == POOLED else ""),
        "per_seed": " ".join(f"{value:.6g}" for value in sample.per_seed.values()),
        "n_seeds": len(seeds),
        "n_experiments": sample.n_experiments,
        "n_lineages": sample.n_lineages or None,
        "expected": sample.expected,
        "family": fact.family,
        "better": fact.better,
        "compared": key[-1].partition(":")[0] in compared,
    }


def _differences(
    samples: Mapping[tuple[str, ...], _Sample],
    contrasts: Sequence[tuple[str, str]],
    metrics: Sequence[str],
) -> pd.DataFrame:
    rows = []
    for first, second in contrasts:
        for key, mine in samples.items():
            theirs = samples.get((second, *key[1:]))
            compared = key[0] == first and key[1] == "trained" and theirs is not None
            if compared and key[-1].partition(":")[0] in metrics:
                rows.append(_difference(first, second, key, mine, theirs))
    table = pd.DataFrame(rows, columns=[c for c in DIFFERENCE_COLUMNS if c != "verdict"])
    table["p_corrected"] = adjust(table["p"].to_numpy(float))
    table["verdict"] = [verdict(row) for row in table.to_dict("records")]
    return table


def _difference(
    first: str, second: str, key: tuple[str, ...], mine: _Sample, theirs: _Sample
) -> dict[str, object]:
    """First minus second, paired by the seeds that both have where their cells are the same."""
    both = [seed for seed in mine.per_seed if seed in theirs.per_seed]
    if mine.cells == theirs.cells and both:
        told, paired = _paired(mine.values(both), theirs.values(both))
        n_seeds, reason = len(both), ""
    else:
        seeds = [list(sample.per_seed) for sample in (mine, theirs)]
        told = estimate_difference(mine.values(seeds[0]), theirs.values(seeds[1]))
        paired, n_seeds = "no", min(map(len, seeds))
        reason = "scored on different cells: not paired" if both else "no seed in common"
    fact, scope = fact_of(key[-1]), INCLUDES_TRAINING if key[3] == POOLED else ""
    return {
        **{"first": first, "second": second},
        **dict(zip(KEY[2:], key[2:], strict=True)),
        **told._asdict(),
        "note": join_notes(told.note, reason, mine.note, theirs.note, scope),
        "n_seeds": n_seeds,
        "paired": paired,
        "family": fact.family,
        "better": fact.better,
    }


def _paired(mine: Values, theirs: Values) -> tuple[Estimate, str]:
    """Difference seed by seed and, where both were resampled alike, resample by resample."""
    values = [a - b for a, b in zip(mine.per_seed, theirs.per_seed, strict=True)]
    resampled = mine.resampled is not None and theirs.resampled is not None
    if not resampled or mine.n_lineages != theirs.n_lineages:
        return estimate_mean(values), "seeds"
    told = estimate_mean(values, mine.resampled - theirs.resampled, mine.n_lineages)
    return told, "seeds" if NOT_RESAMPLED in told.note else "seeds and lineages"


def verdict(row: Mapping[str, object]) -> str:
    """Words for a difference: which way it goes and whether that is better, or that none is seen.

    Parameters
    ----------
    row : mapping
        first, value, low, high, p_corrected and better.
    """
    value, p = float(row["value"]), float(row["p_corrected"])
    if not np.isfinite(value):
        return "no value to compare"
    if not np.isfinite(p):
        return f"difference {value:+.3g}, uncertainty not known"
    span = f"{value:+.3g}, 95 % {row['low']:+.3g} to {row['high']:+.3g}"
    if p > LEVEL:
        return f"no difference seen ({span})"
    direction = "higher" if value > 0 else "lower"
    judged = {"none": "", direction: ", better"}.get(str(row["better"]), ", worse")
    return f"{row['first']} {direction} ({span}){judged}"
