"""The summary sentence of an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dynaclr.config.metrics import ALL_TRAINING, CROSS_VALIDATED, HELD_OUT
from dynaclr.config.variants import CEILING, kind_title
from dynaclr.io.metric_tables import read_metrics

TITLES = {"auroc": "AUROC", "average_precision": "average precision"}
# Of a class that is rarer, AUROC looks good even where most of what is called positive is not.
RARE = 0.1


def summarize(folder: Path, task: str | None) -> dict[str, Any]:
    """Score of a task on the held-out experiments, trained model against baselines.

    It is the AUROC, or the average precision where the positive class, or the rarest of several,
    has less than a tenth of the observations.

    With several held-out experiments each number is the mean over those that have one. Without
    any, the cross-validated estimate within the training experiments is used.

    Parameters
    ----------
    folder : Path
        With the joined tables: ``metrics.csv``, ``differences.csv`` and ``confusion.csv``.
    task : str or None
        The first one of the configuration; None where there is none.

    Returns
    -------
    dict
        ``task``, ``metric``, ``estimate``, ``experiments``, ``n_rows``, ``n_lineages``,
        ``trained``, ``ceiling`` where there is one, and each of ``baselines`` (``mean`` over seeds
        and ``per_seed``), ``way_to_ceiling`` (mean share over seeds and experiments),
        ``difference`` to the best baseline (``value``, ``low``, ``high``; only with one
        experiment) and ``text``. A number that is missing is None.
    """
    if task is None:
        return {"task": None, "metric": "auroc", "text": "No evaluation task is configured."}
    metrics = _of_task(folder / "metrics.csv", task)
    estimate = HELD_OUT if HELD_OUT in set(metrics["estimate"]) else CROSS_VALIDATED
    metrics = metrics[metrics["estimate"] == estimate]
    if estimate == CROSS_VALIDATED:
        metrics = metrics[metrics["experiment"] == ALL_TRAINING]
    confusion = _of_task(folder / "confusion.csv", task)
    metric = _metric_for(confusion[confusion["estimate"] == estimate])
    rows = metrics[metrics["metric"] == metric]
    known = rows.loc[rows["value"].notna(), "experiment"].unique()
    names = list(known) or list(rows["experiment"].unique())
    # Corrected embeddings are in the tables; one sentence cannot hold them all.
    rows = rows[rows["experiment"].isin(names) & ~rows["kind"].str.contains("+", regex=False)]
    sizes = rows.drop_duplicates("experiment")[["n_rows", "n_lineages"]].sum()
    by_kind = {str(kind): _seeds(part) for kind, part in rows.groupby("kind", sort=False)}
    nothing: dict[str, Any] = {"mean": None, "per_seed": {}}
    way = metrics.loc[metrics["metric"] == f"way_to_ceiling:{metric}", "value"]
    headline: dict[str, Any] = {
        "task": task,
        "metric": metric,
        "estimate": estimate,
        "experiments": names,
        "n_rows": int(sizes["n_rows"]),
        "n_lineages": int(sizes["n_lineages"]),
        "trained": by_kind.pop("trained", nothing),
        "ceiling": by_kind.pop(CEILING, nothing),
        "way_to_ceiling": _number(way.mean()),
        "baselines": by_kind,
    }
    headline["difference"] = _difference(_of_task(folder / "differences.csv", task), headline)
    note = "; ".join(dict.fromkeys(rows["note"].dropna()))
    return {**headline, "text": _sentence(headline, note)}


def _of_task(path: Path, task: str) -> pd.DataFrame:
    """Rows of a table about a task; names of classes are text."""
    if path.stem == "metrics":
        table = read_metrics(path)
    else:
        names = ("task", "estimate", "experiment", "variant", "kind", "true", "metric", "baseline")
        types = dict.fromkeys(names, str)
        table = pd.read_csv(path, dtype=types, keep_default_na=False, na_values=[""])
    return table[table["task"] == task]


def _metric_for(confusion: pd.DataFrame) -> str:
    """Metric that says most about a task, by how rare its positive or rarest class is."""
    if confusion.empty:
        return "auroc"
    one = confusion[confusion["variant"] == confusion["variant"].iloc[0]]
    counts = one.groupby("true", sort=True)["count"].sum()
    shares = counts / max(counts.sum(), 1)
    rarest = shares.iloc[1] if len(shares) == 2 else shares[shares > 0].min()
    return "average_precision" if 0 < rarest < RARE else "auroc"


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


def _difference(table: pd.DataFrame, headline: dict[str, Any]) -> dict[str, Any] | None:
    """Trained minus the best baseline, with its interval, when one experiment is shown."""
    means = {k: b["mean"] for k, b in headline["baselines"].items() if b["mean"] is not None}
    if headline["trained"]["mean"] is None or not means or len(headline["experiments"]) != 1:
        return None
    best = max(means, key=means.__getitem__)
    row = table[
        (table["metric"] == headline["metric"])
        & (table["baseline"] == best)
        & (table["estimate"] == headline["estimate"])
        & (table["experiment"] == headline["experiments"][0])
    ].iloc[0]
    return {"baseline": best, **{key: _number(row[key]) for key in ("value", "low", "high")}}


def _number(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None


def _sentence(headline: dict[str, Any], note: str) -> str:
    trained, difference = headline["trained"], headline["difference"]
    title = TITLES[headline["metric"]]
    where = "left-out lineages of the training experiments"
    if headline["estimate"] == HELD_OUT:
        where = "held-out " + " and ".join(headline["experiments"])
    subject = f"Task {headline['task']} on {where}"
    if trained["mean"] is None:
        return f"{subject}: no {title} ({note or 'no trained variant'})."
    seeds = [f"{value:.2f}" for value in trained["per_seed"].values() if value is not None]
    against = [
        f"{kind_title(kind)} {baseline['mean']:.2f}"
        for kind, baseline in headline["baselines"].items()
        if baseline["mean"] is not None
    ]
    text = f"{subject}: {title} {trained['mean']:.2f}"
    if len(seeds) > 1:
        text += f" (seeds: {', '.join(seeds)})"
    if against:
        *others, last = against
        text += f", against {', '.join(others)} and {last}" if others else f", against {last}"
    if difference is not None and difference["low"] is not None:
        text += (
            f" ({difference['value']:+.2f} to {kind_title(difference['baseline'])}, 95 % interval "
            f"{difference['low']:+.2f} to {difference['high']:+.2f})"
        )
    text += _about_ceiling(headline)
    n_rows, n_lineages = headline["n_rows"], headline["n_lineages"]
    return f"{text}; n = {n_rows:,} observations of {n_lineages:,} lineages."


def _about_ceiling(headline: dict[str, Any]) -> str:
    ceiling, way = headline["ceiling"]["mean"], headline["way_to_ceiling"]
    if ceiling is None:
        return ""
    share = "not clearly above the best baseline"
    if way is not None:
        share = f"{100 * way:.0f} % of the way to it from the best baseline"
    return f"; {kind_title(CEILING)} {ceiling:.2f}, {share}"
