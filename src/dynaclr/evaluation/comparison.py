"""Models side by side: one table of all metrics, contrasts with verdicts, one figure a metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from dynaclr.evaluation.bootstrap import cluster_bootstrap
from dynaclr.evaluation.comparison_figures import draw_comparison
from dynaclr.evaluation.evaluate import write_csv
from dynaclr.evaluation.measures import HELD_OUT, POOLED, fact_of
from dynaclr.evaluation.score_tables import METRICS
from dynaclr.evaluation.scores import classification_scores
from dynaclr.evaluation.stores import key_of
from dynaclr.evaluation.uncertainty import Estimate, adjust, estimate_mean
from dynaclr.experiments import UserError
from dynaclr.experiments.files import atomic_path
from dynaclr.experiments.project import ComparisonConfig
from dynaclr.experiments.registry import nearest

# The main metric of each question, as far as it was measured.
MAIN_METRICS = (
    *("auroc", "average_precision", "window_auroc", "sister_auroc", "progression_r2", "mmd_z"),
    *("onset_error_hours", "matched_ilisi", "matched_experiment_auroc", "isolated_state_auroc"),
    *("scib_total", "smoothness", "effective_rank"),
)
N_RESAMPLES = 500
LEVEL = 0.05
KEY = ["model", "kind", "task", "estimate", "metric"]
METRIC_COLUMNS = [
    *(*KEY, "value", "low", "high", "per_seed", "n_seeds", "n_experiments", "n_lineages"),
    *("expected", "family", "better", "note"),
]
DIFFERENCE_COLUMNS = [
    *("first", "second", "task", "estimate", "metric", "value", "low", "high", "p", "p_corrected"),
    *("n_seeds", "paired", "family", "better", "verdict", "note"),
]


@dataclass(frozen=True)
class _Sample:
    """One metric of one kind of variant of one model.

    ``per_seed`` maps seeds (None for baselines without one) to the mean over experiments,
    ``resampled`` likewise to values on resampled lineages.
    """

    per_seed: dict[int | None, float]
    resampled: dict[int | None, np.ndarray]
    n_experiments: int
    n_lineages: int
    expected: float

    def mean_resampled(self, seeds: Sequence[int | None]) -> np.ndarray | None:
        """Mean over seeds on each resample, None where lineages were not resampled."""
        if not self.resampled:
            return None
        return np.mean([self.resampled[seed] for seed in seeds], axis=0)


def compare_models(
    evaluations: Mapping[str, str | Path], config: ComparisonConfig, out_dir: str | Path
) -> pd.DataFrame:
    """Compare evaluated models; write tables and figures.

    Values are means over held-out experiments, then over seeds. Intervals are over seeds and, for
    scores of classifiers, lineages (`uncertainty.estimate_mean`). Differences are paired by seed
    and by lineage where the two models were scored on the same cells; p values are corrected over
    all contrasts and compared metrics (`uncertainty.adjust`).

    Parameters
    ----------
    evaluations : mapping
        Model to its folder of `evaluate_model`.
    config : ComparisonConfig
        Contrasts and the metrics that are compared.
    out_dir : str or Path
        Gets ``metrics.csv``, ``differences.csv`` and ``figures/<metric>.svg``.

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
    for model, (metrics, predictions) in tables.items():
        samples |= _samples(model, metrics, predictions)
    compared = _compared_metrics(config, samples)
    metrics = pd.DataFrame([_metric_row(key, sample) for key, sample in samples.items()])
    differences = _differences(samples, contrasts_of(config, list(evaluations)), compared)
    out_dir = Path(out_dir)
    write_csv(out_dir / "metrics.csv", metrics, METRIC_COLUMNS)
    write_csv(out_dir / "differences.csv", differences, DIFFERENCE_COLUMNS)
    with atomic_path(out_dir / "figures") as temporary:
        temporary.mkdir()
        for metric in compared:
            shown = metrics[metrics["metric"].str.partition(":")[0] == metric]
            draw_comparison(shown, differences, temporary / f"{metric}.svg")
    return differences


def contrasts_of(config: ComparisonConfig, models: list[str]) -> list[tuple[str, str]]:
    """Pairs of models to compare: those configured, else every model with the first."""
    return list(config.contrasts) or [(model, models[0]) for model in models[1:]]


def _read(folder: Path, model: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    for name in ("metrics.csv", "predictions.parquet"):
        if not (folder / name).is_file():
            raise UserError(f"{folder / name}: no such file. Evaluate model {model!r} first.")
    metrics = pd.read_csv(folder / "metrics.csv", keep_default_na=False, na_values=[""])
    return metrics, pd.read_parquet(folder / "predictions.parquet")


def _compared_metrics(
    config: ComparisonConfig, samples: Mapping[tuple[str, ...], _Sample]
) -> list[str]:
    known = sorted({key[-1].partition(":")[0] for key in samples})
    for metric in config.metrics:
        if metric not in known:
            raise UserError(
                f"comparison.metrics: no model was measured by {metric!r}. "
                f"{nearest(metric, known)}."
            )
    return list(config.metrics) or [metric for metric in MAIN_METRICS if metric in known]


def _samples(
    model: str, metrics: pd.DataFrame, predictions: pd.DataFrame
) -> dict[tuple[str, ...], _Sample]:
    """Every metric on held-out experiments or on all of them, by kind of variant."""
    metrics = metrics[metrics["estimate"].isin([HELD_OUT, POOLED])]
    metrics = metrics.assign(task=metrics["task"].fillna(""))
    resampled, n_lineages = _resample(predictions)
    samples = {}
    for (kind, task, estimate, metric), rows in metrics.groupby(
        ["kind", "task", "estimate", "metric"], sort=True
    ):
        variants = rows.drop_duplicates("variant").set_index("variant")["seed"]
        seeds = {name: None if pd.isna(seed) else int(seed) for name, seed in variants.items()}
        per_variant = rows.groupby("variant", sort=True)["value"].mean()
        known = {
            seeds[name]: resampled[name, task, metric]
            for name in seeds
            if estimate == HELD_OUT and (name, task, metric) in resampled
        }
        samples[model, kind, task, estimate, metric] = _Sample(
            per_seed={seeds[name]: float(value) for name, value in per_variant.items()},
            resampled=known if len(known) == len(seeds) else {},
            n_experiments=rows["experiment"].nunique(),
            n_lineages=n_lineages.get(task, 0) if known else 0,
            expected=float(rows["expected"].mean()),
        )
    return samples


def _resample(
    predictions: pd.DataFrame,
) -> tuple[dict[tuple[str, str, str], np.ndarray], dict[str, int]]:
    """Scores on resampled lineages by (variant, task, metric), averaged over experiments.

    The same cells are resampled alike in every variant and model, so that differences are paired.
    """
    corrected = predictions["variant"].str.contains("+", regex=False)
    known = predictions[predictions["label"].notna() & ~corrected]
    values: dict[tuple[str, str, str], list[np.ndarray]] = {}
    n_lineages: dict[str, int] = {}
    for (task, _), part in known.groupby(["task", "experiment"], sort=True):
        classes = tuple(sorted(part["class"].unique()))
        part = part[part["label"].isin(classes)]
        key = [name for name in key_of(part) if name != "experiment"]
        rows = part.drop_duplicates(key).sort_values(key)
        clusters = rows.groupby(["fov", "lineage_id"], sort=True).ngroup().to_numpy()
        true = np.searchsorted(np.array(classes), rows["label"].to_numpy(str))
        n_lineages[task] = n_lineages.get(task, 0) + len(np.unique(clusters))
        for variant, of_variant in part.groupby("variant", sort=True):
            wide = of_variant.pivot(index=key, columns="class", values="probability").sort_index()
            probability = wide[list(classes)].to_numpy()
            statistics = partial(classification_scores, true, probability, classes)
            resampled = cluster_bootstrap(statistics, clusters, N_RESAMPLES, seed=0)
            for metric in METRICS:
                values.setdefault((variant, task, metric), []).append(resampled[metric])
    return {place: np.mean(parts, axis=0) for place, parts in values.items()}, n_lineages


def _metric_row(key: tuple[str, ...], sample: _Sample) -> dict[str, object]:
    seeds = list(sample.per_seed)
    told = estimate_mean(
        list(sample.per_seed.values()), sample.mean_resampled(seeds), sample.n_lineages
    )
    fact = fact_of(key[-1])
    return {
        **dict(zip(KEY, key, strict=True)),
        **{"value": told.value, "low": told.low, "high": told.high, "note": told.note},
        "per_seed": " ".join(f"{value:.6g}" for value in sample.per_seed.values()),
        "n_seeds": len(seeds),
        "n_experiments": sample.n_experiments,
        "n_lineages": sample.n_lineages or None,
        "expected": sample.expected,
        "family": fact.family,
        "better": fact.better,
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
    """First minus second, paired by the seeds that both have."""
    both = [seed for seed in mine.per_seed if seed in theirs.per_seed]
    resampled = None
    if mine.resampled and theirs.resampled and both:
        resampled = mine.mean_resampled(both) - theirs.mean_resampled(both)
    n_lineages = min(mine.n_lineages, theirs.n_lineages)
    values = [mine.per_seed[seed] - theirs.per_seed[seed] for seed in both]
    told: Estimate = estimate_mean(values, resampled, n_lineages)
    fact = fact_of(key[-1])
    return {
        **{"first": first, "second": second},
        **dict(zip(KEY[2:], key[2:], strict=True)),
        **told._asdict(),
        "n_seeds": len(both),
        "paired": "seeds and lineages" if resampled is not None else "seeds",
        "family": fact.family,
        "better": fact.better,
    }


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
