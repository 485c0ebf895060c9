"""Random tables and sampler options for property tests."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import strategies as st

REPLICAS = (1, 2, 3, 4, 8)


@dataclass(frozen=True)
class Table:
    """A table, and its groups and strata as plain codes for oracles."""

    columns: pd.DataFrame
    group: np.ndarray
    stratum: np.ndarray

    def __repr__(self) -> str:
        return f"Table({len(self.columns)} rows, {np.unique(self.group).size} groups)"

    @property
    def hours(self) -> np.ndarray:
        return self.columns["hours"].to_numpy()


def _skewed_codes(rng: np.random.Generator, n_rows: int, n_codes: int) -> np.ndarray:
    share = rng.pareto(1.0, n_codes) + 0.02
    return rng.choice(n_codes, size=n_rows, p=share / share.sum())


def _as_keys(codes: np.ndarray, kind: str, rng: np.random.Generator) -> Any:
    if kind == "integer":
        return codes * 7 - 20
    names = np.array([f"name {code:02d}" for code in range(codes.max() + 1)])
    if kind == "string":
        return names[codes]
    order = rng.permutation(names.size + 1)  # one category more than occurs
    categories = np.append(names, "unused")[order]
    return pd.Categorical(names[codes], categories=categories)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_rows = draw(st.one_of(st.integers(1, 60), st.integers(1, 5000)))
    group = _skewed_codes(rng, n_rows, draw(st.integers(1, 30)))
    stratum = _skewed_codes(rng, n_rows, draw(st.integers(1, 40)))
    kinds = st.sampled_from(["string", "categorical", "integer"])
    columns = pd.DataFrame(
        {
            "experiment": _as_keys(group, draw(kinds), rng),
            "condition": _as_keys(stratum, draw(kinds), rng),
            "hours": rng.integers(0, draw(st.integers(1, 60)), n_rows) * 0.25 + group % 3,
        }
    )
    return Table(columns, group, stratum)


@st.composite
def options(draw: st.DrawFn, enriched: bool | None = None) -> dict[str, Any]:
    """All options but the batch size; `weighted` stands for weights of all groups there are."""
    chosen = {
        "num_replicas": draw(st.sampled_from(REPLICAS)),
        "leaky": draw(st.sampled_from([0.0, 0.1, 0.2, 0.5, 1.0])),
        "temporal_enrichment": draw(st.booleans()) if enriched is None else enriched,
        "temporal_window_hours": draw(st.sampled_from([0.0, 0.5, 2.0])),
        "temporal_global_fraction": draw(st.sampled_from([0.0, 0.3, 0.5, 1.0])),
        "seed": draw(st.integers(-5, 2**40)),
    }
    chosen["weighted"] = draw(st.sampled_from([False, False, True]))
    chosen["batch_group_by"] = draw(st.sampled_from(["experiment", "experiment", None]))
    chosen["stratify_by"] = draw(
        st.sampled_from(["condition", "condition", None, ["condition", "hours"]])
    )
    return chosen
