"""The one sentence that a run ends with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from dynaclr.config.metrics import HELD_OUT
from dynaclr.config.variants import kind_title
from dynaclr.evaluation.classifiers.score_tables import ScoredSet
from dynaclr.evaluation.classifiers.task_scores import TaskScores

METRIC = "auroc"


def summarize(scores: list[TaskScores]) -> dict[str, Any]:
    """AUROC of the first task on the held-out experiments, trained model against baselines.

    With several held-out experiments each number is the mean over those that have one. Without
    any, the cross-validated estimate within the training experiments takes their place.

    Parameters
    ----------
    scores : list of TaskScores
        In the order of the configuration.

    Returns
    -------
    dict
        ``task``, ``metric``, ``estimate``, ``experiments``, ``n_rows``, ``n_lineages``,
        ``trained`` and each of ``baselines`` (``mean`` over seeds and ``per_seed``),
        ``difference`` to the best baseline (``value``, ``low``, ``high``; only with one
        experiment) and ``text``. What cannot be had is None.
    """
    if not scores:
        return {"task": None, "metric": METRIC, "text": "No evaluation task is configured."}
    first = scores[0]
    metrics = first.tables.metrics
    shown = [s for s in first.shown_sets if _has_value(metrics, s)] or first.shown_sets
    names = [scored.experiment for scored in shown]
    rows = metrics[(metrics["metric"] == METRIC) & metrics["experiment"].isin(names)]
    rows = rows[rows["estimate"] == shown[0].estimate]
    # Corrected embeddings stand in the tables; one sentence cannot hold them all.
    rows = rows[~rows["kind"].str.contains("+", regex=False)]
    by_kind = {kind: _seeds(part) for kind, part in rows.groupby("kind", sort=False)}
    headline = {
        "task": first.task.name,
        "metric": METRIC,
        "estimate": shown[0].estimate,
        "experiments": names,
        "n_rows": sum(len(scored.true) for scored in shown),
        "n_lineages": sum(scored.n_lineages for scored in shown),
        "trained": by_kind.pop("trained", {"mean": None, "per_seed": {}}),
        "baselines": by_kind,
    }
    headline["difference"] = _difference(first, headline)
    note = "; ".join(dict.fromkeys(rows["note"][rows["note"] != ""]))
    return {**headline, "text": _sentence(headline, note)}


def _has_value(metrics: pd.DataFrame, scored: ScoredSet) -> bool:
    here = (metrics["experiment"] == scored.experiment) & (metrics["metric"] == METRIC)
    return bool(metrics.loc[here & (metrics["estimate"] == scored.estimate), "value"].notna().any())


def _seeds(rows: pd.DataFrame) -> dict[str, Any]:
    """Mean over experiments for each variant, and the mean of those over seeds."""
    per_variant = rows.groupby("variant", sort=False)["value"].mean()
    seeds = rows.drop_duplicates("variant").set_index("variant")["seed"]
    per_seed = {
        str(int(seeds[name])): _number(value)
        for name, value in per_variant.items()
        if pd.notna(seeds[name])
    }
    return {"mean": _number(per_variant.mean()), "per_seed": per_seed}


def _difference(first: TaskScores, headline: dict[str, Any]) -> dict[str, Any] | None:
    """Trained minus the best baseline, with its interval, when one experiment is shown."""
    means = {k: b["mean"] for k, b in headline["baselines"].items() if b["mean"] is not None}
    if headline["trained"]["mean"] is None or not means or len(headline["experiments"]) != 1:
        return None
    best = max(means, key=means.__getitem__)
    table = first.tables.differences
    row = table[
        (table["metric"] == METRIC)
        & (table["baseline"] == best)
        & (table["estimate"] == headline["estimate"])
        & (table["experiment"] == headline["experiments"][0])
    ].iloc[0]
    return {"baseline": best, **{key: _number(row[key]) for key in ("value", "low", "high")}}


def _number(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None


def _sentence(headline: dict[str, Any], note: str) -> str:
    trained = headline["trained"]
    held_out = headline["estimate"] == HELD_OUT
    place = (
        "held-out " + " and ".join(headline["experiments"])
        if held_out
        else "left-out lineages of the training experiments"
    )
    if trained["mean"] is None:
        return f"Task {headline['task']} on {place}: no AUROC ({note or 'no trained variant'})."
    seeds = [f"{value:.2f}" for value in trained["per_seed"].values() if value is not None]
    spread = f" (seeds: {', '.join(seeds)})" if len(seeds) > 1 else ""
    against = [
        f"{kind_title(kind)} {baseline['mean']:.2f}"
        for kind, baseline in headline["baselines"].items()
        if baseline["mean"] is not None
    ]
    listed = " and ".join(filter(None, [", ".join(against[:-1]), *against[-1:]]))
    baselines = f", against {listed}" if against else ""
    return (
        f"Task {headline['task']} on {place}: AUROC {trained['mean']:.2f}{spread}{baselines}"
        f"{_told_difference(headline['difference'])}; n = {headline['n_rows']:,} observations of "
        f"{headline['n_lineages']:,} lineages."
    )


def _told_difference(difference: dict[str, Any] | None) -> str:
    if difference is None or difference["low"] is None:
        return ""
    return (
        f" ({difference['value']:+.2f} to {kind_title(difference['baseline'])}, 95 % interval "
        f"{difference['low']:+.2f} to {difference['high']:+.2f})"
    )
