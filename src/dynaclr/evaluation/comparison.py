"""Comparison of models: one table of all metrics, and differences with verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dynaclr.config import ComparisonConfig, UserError
from dynaclr.config.errors import did_you_mean
from dynaclr.config.metrics import (
    ALL,
    HELD_OUT,
    INCLUDES_TRAINING,
    POOLED,
    join_notes,
    metric_info,
)
from dynaclr.evaluation.metrics.uncertainty import (
    NOT_RESAMPLED,
    Estimate,
    Values,
    adjust_p_values,
    estimate_difference,
    estimate_mean,
)
from dynaclr.evaluation.resampled_scores import (
    ResampledByKey,
    resample_predictions,
    stored_resamples,
)
from dynaclr.evaluation.tables import Row, digest_of_rows, write_csv
from dynaclr.io.artifacts import reading
from dynaclr.io.embeddings import key_of
from dynaclr.io.metric_tables import read_metrics
from dynaclr.io.parquet import read_parquet

# The main metric of each question; those that were computed are compared by default.
MAIN_METRICS = (
    *("auroc", "average_precision", "window_auroc", "sister_auroc", "progression_r2", "mmd_z"),
    *("onset_error_hours", "matched_ilisi", "matched_experiment_auroc", "isolated_state_auroc"),
    *("smoothness", "effective_rank"),
)
LEVEL = 0.05
# Names may be all digits (a date), or be "NA".
_TEXT = {"model": str, "experiment": str, "digest": str}
METRIC_COLUMNS = [
    *("model", "kind", "task", "estimate", "metric", "value", "low", "high", "per_seed"),
    *("n_seeds", "n_experiments", "n_lineages", "expected", "family", "better", "compared", "note"),
]
DIFFERENCE_COLUMNS = [
    *("first", "second", "task", "estimate", "metric", "value", "low", "high", "p", "p_corrected"),
    *("n_seeds", "paired", "family", "better", "verdict", "note"),
]


class _Key(NamedTuple):
    """Identifies one metric of one kind of variant of one model."""

    model: str
    kind: str
    task: str
    estimate: str
    metric: str

    @property
    def base_metric(self) -> str:
        """The metric without its class or condition: ``f1`` of ``f1:late``."""
        return self.metric.partition(":")[0]

    @property
    def scope_note(self) -> str:
        return INCLUDES_TRAINING if self.estimate == POOLED else ""


@dataclass(frozen=True)
class _Sample:
    """Values of one metric of one kind of variant of one model.

    Attributes
    ----------
    per_seed : dict
        Seed (None for a baseline without one) to the mean over experiments.
    resampled : dict
        Seed to the mean over experiments on resampled lineages, shape (r,); empty where a seed has
        none.
    n_experiments, n_lineages : int
    expected : float
    observations : dict of str to str
        Experiment to a digest of the observations (and labels) behind the values.
    note : str
    """

    per_seed: dict[int | None, float]
    resampled: dict[int | None, np.ndarray]
    n_experiments: int
    n_lineages: int
    expected: float
    observations: dict[str, str]
    note: str

    def values(self, seeds: Sequence[int | None]) -> Values:
        """Values of the mean over some seeds."""
        per_seed = [self.per_seed[seed] for seed in seeds]
        if not self.resampled:
            return Values(per_seed)
        resampled = np.mean([self.resampled[seed] for seed in seeds], axis=0)
        return Values(per_seed, resampled, self.n_lineages)


def compare_models(
    evaluations: Mapping[str, str | Path], config: ComparisonConfig, out_dir: str | Path
) -> pd.DataFrame:
    """Compare evaluated models and write the tables.

    Values are means over held-out experiments, then over seeds. Intervals are over seeds and, for
    scores of classifiers, resolution, progression and onsets, lineages
    (`uncertainty.estimate_mean`). Differences are paired by seed, and by lineage, where the two
    models were scored on the very same observations; else the variances of both add up, and column
    ``paired`` says "no". p values are corrected over all contrasts and compared metrics
    (`uncertainty.adjust_p_values`).

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
    samples: dict[_Key, _Sample] = {}
    for model, folder in evaluations.items():
        samples |= _read_samples(Path(folder), model)
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


def _compared_metrics(config: ComparisonConfig, samples: Mapping[_Key, _Sample]) -> list[str]:
    known = sorted({key.base_metric for key in samples})
    for metric in config.metrics:
        if metric not in known:
            raise UserError(
                f"comparison.metrics: no evaluation has the metric {metric!r}. "
                f"{did_you_mean(metric, known, most=len(known))}."
            )
    return list(config.metrics) or [metric for metric in MAIN_METRICS if metric in known]


def _read_samples(folder: Path, model: str) -> dict[_Key, _Sample]:
    """Every metric on held-out experiments or on all of them, by kind of variant."""
    metrics = read_metrics(folder / "metrics.csv")
    metrics = metrics[metrics["estimate"].isin([HELD_OUT, POOLED])]
    metrics = metrics.assign(task=metrics["task"].fillna(""))
    with reading(folder / "cells.csv"):
        observations = pd.read_csv(folder / "cells.csv", keep_default_na=False, dtype=_TEXT)
    predictions = read_parquet(folder / "predictions.parquet").to_pandas()
    resampled = resample_predictions(predictions)
    resampled |= stored_resamples(read_parquet(folder / "resampled.parquet").to_pandas())
    labels = _digests_of_labels(predictions)
    samples = {}
    for names, rows in metrics.groupby(["kind", "task", "estimate", "metric"], sort=True):
        key = _Key(model, *names)
        samples[key] = _sample(
            key, rows, resampled, _digests_of_observations(key, rows, observations, labels)
        )
    return samples


def _sample(
    key: _Key, rows: pd.DataFrame, resampled: ResampledByKey, observations: dict[str, str]
) -> _Sample:
    seeds = {
        str(variant): None if pd.isna(seed) else int(seed)
        for variant, seed in rows.drop_duplicates("variant").set_index("variant")["seed"].items()
    }
    per_variant = rows.groupby("variant", sort=True)["value"].mean()
    # An experiment without values (it has a single class) is left out.
    parts = {
        seed: [
            part
            for part in resampled.get((variant, key.task, key.estimate, key.metric), ())
            if np.isfinite(part.values).any()
        ]
        for variant, seed in seeds.items()
    }
    complete = all(parts.values())
    missing = rows.loc[rows["value"].isna(), "experiment"].unique()
    some_missing = len(missing) > 0 and rows["value"].notna().any()
    return _Sample(
        per_seed={seeds[str(name)]: float(value) for name, value in per_variant.items()},
        resampled={
            seed: np.mean([part.values for part in of_seed], axis=0)
            for seed, of_seed in parts.items()
            if complete
        },
        n_experiments=rows["experiment"].nunique(),
        n_lineages=sum(p.n_lineages for p in next(iter(parts.values()))) if complete else 0,
        expected=float(rows["expected"].mean()),
        observations=observations,
        note=f"no value of {', '.join(missing)}: left out" if some_missing else "",
    )


def _digests_of_observations(
    key: _Key,
    rows: pd.DataFrame,
    observations: pd.DataFrame,
    labels: Mapping[tuple[str, str], str],
) -> dict[str, str]:
    """Digest of the observations behind a metric, by experiment.

    All observations of the experiment and, for a task, those that are labelled and how.
    """
    named = set(rows["experiment"])
    if key.estimate == HELD_OUT:
        observations = observations[observations["held_out"]]
    return {
        name: digest + labels.get((key.task, name), "")
        for name, digest in zip(observations["experiment"], observations["digest"], strict=True)
        if {name, ALL} & named
    }


def _digests_of_labels(predictions: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Digest of the labelled held-out rows, and of their labels, by (task, experiment)."""
    key = [*key_of(predictions), "label"]
    known = predictions[predictions["label"].notna()].drop_duplicates(["task", *key])
    return {
        names: digest_of_rows(part[key].sort_values(key))
        for names, part in known.groupby(["task", "experiment"], sort=True)
    }


def _metric_row(key: _Key, sample: _Sample, compared: Sequence[str]) -> Row:
    seeds = list(sample.per_seed)
    estimate = estimate_mean(*sample.values(seeds))
    return {
        **key._asdict(),
        **{"value": estimate.value, "low": estimate.low, "high": estimate.high},
        "note": join_notes(estimate.note, sample.note, key.scope_note),
        "per_seed": " ".join(f"{value:.6g}" for value in sample.per_seed.values()),
        "n_seeds": len(seeds),
        "n_experiments": sample.n_experiments,
        "n_lineages": sample.n_lineages or None,
        "expected": sample.expected,
        **metric_info(key.metric)._asdict(),
        "compared": key.base_metric in compared,
    }


def _differences(
    samples: Mapping[_Key, _Sample], contrasts: Sequence[tuple[str, str]], metrics: Sequence[str]
) -> pd.DataFrame:
    rows = []
    for first, second in contrasts:
        for key, sample in samples.items():
            other = samples.get(key._replace(model=second))
            is_trained = key.model == first and key.kind == "trained"
            if is_trained and other is not None and key.base_metric in metrics:
                rows.append({"second": second, **_difference(key, sample, other)})
    table = pd.DataFrame(rows, columns=[c for c in DIFFERENCE_COLUMNS if c != "verdict"])
    table["p_corrected"] = adjust_p_values(table["p"].to_numpy(float))
    table["verdict"] = [verdict(row) for row in table.to_dict("records")]
    return table


def _difference(key: _Key, first: _Sample, second: _Sample) -> Row:
    """First minus second, paired by the seeds of both where their observations are the same."""
    both = [seed for seed in first.per_seed if seed in second.per_seed]
    if first.observations == second.observations and both:
        estimate, paired = _paired_difference(first.values(both), second.values(both))
        n_seeds, reason = len(both), ""
    else:
        seeds, other_seeds = list(first.per_seed), list(second.per_seed)
        estimate = estimate_difference(first.values(seeds), second.values(other_seeds))
        paired, n_seeds = "no", min(len(seeds), len(other_seeds))
        reason = "scored on different cells: not paired" if both else "no seed in common"
    return {
        **{"first": key.model, "task": key.task, "estimate": key.estimate, "metric": key.metric},
        **estimate._asdict(),
        "note": join_notes(estimate.note, reason, first.note, second.note, key.scope_note),
        "n_seeds": n_seeds,
        "paired": paired,
        **metric_info(key.metric)._asdict(),
    }


def _paired_difference(first: Values, second: Values) -> tuple[Estimate, str]:
    """Difference seed by seed and, where both were resampled alike, resample by resample."""
    values = [a - b for a, b in zip(first.per_seed, second.per_seed, strict=True)]
    if first.resampled is None or second.resampled is None:
        return estimate_mean(values), "seeds"
    if first.n_lineages != second.n_lineages:
        return estimate_mean(values), "seeds"
    estimate = estimate_mean(values, first.resampled - second.resampled, first.n_lineages)
    return estimate, "seeds" if NOT_RESAMPLED in estimate.note else "seeds and lineages"


def verdict(row: Mapping[str, Any]) -> str:
    """Which way a difference goes and whether that is better, or that none is seen.

    Parameters
    ----------
    row : mapping
        first, value, low, high, p_corrected and better.

    Returns
    -------
    str
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
