"""Data of the embedding explorer: maps of cells and their pictures, packed for the browser."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from dynaclr.config.variants import parse_variant
from dynaclr.io.artifacts import reading, verified_digest
from dynaclr.io.embeddings import KEY, key_of, map_facts, open_anndata
from dynaclr.io.parquet import read_parquet
from dynaclr.io.subsample import whole_lineages

if TYPE_CHECKING:
    from anndata import AnnData

# Beyond these a page loads slowly; it says what it leaves out.
MAX_PICTURE_BYTES = 12 << 20
MAX_MODELS = 8

_FIRST_COLUMNS = ["experiment", "condition", "hours"]
# Keys and row numbers colour nothing.
_NEVER_COLUMNS = {
    *("fov", "track_id", "parent_track_id", "lineage_id", "t"),
    *("branch", "branch_end", "frames_to_division"),
}
_MAX_CLASSES = 40
_N_CHOSEN = 8


class Explorer(NamedTuple):
    """Data of the explorer of the page.

    Attributes
    ----------
    manifest : dict
        JSON: ``models`` (their columns, maps and chosen lineages), ``pictures``, ``notes`` (what is
        left out). An array is given by its dtype, start and length in the bytes of `arrays`.
    arrays : str
        All arrays: gzip, base64.
    images : str
        All pictures one after the other: base64.
    """

    manifest: dict[str, Any]
    arrays: str
    images: str


class ArrayPacker:
    """Arrays one after the other in one block of bytes, each at a multiple of four."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._n_bytes = 0

    def add(self, values: np.ndarray) -> dict[str, Any]:
        """Append an array, and return its dtype, start and length."""
        content = values.astype(values.dtype.newbyteorder("<")).tobytes()
        entry = {"type": values.dtype.name, "start": self._n_bytes, "length": values.size}
        content += b"\0" * (-len(content) % 4)
        self._parts.append(content)
        self._n_bytes += len(content)
        return entry

    def packed(self) -> str:
        """All of it, compressed, as text."""
        return base64.b64encode(gzip.compress(b"".join(self._parts), mtime=0)).decode()


def build_explorer(maps: dict[str, Path], pictures: dict[str, Path]) -> Explorer:
    """Pack maps and pictures.

    Parameters
    ----------
    maps : dict of str to Path
        Model to its ``maps.h5ad``.
    pictures : dict of str to Path
        Experiment to its ``thumbnails.parquet``.

    Raises
    ------
    UserError
        When a file is missing.
    """
    stores = {model: _read_maps(path) for model, path in list(maps.items())[:MAX_MODELS]}
    table, of_experiment = _read_pictures(pictures, stores)
    packer = ArrayPacker()
    models = [_pack_model(model, store, table, packer) for model, store in stores.items()]
    ends = np.cumsum([0, *map(len, table["image"])])
    manifest = {
        "models": models,
        "pictures": {"ends": packer.add(ends.astype(np.uint32)), "of": of_experiment},
        "notes": _notes(len(maps), stores, len(table)),
    }
    images = base64.b64encode(b"".join(table["image"])).decode()
    return Explorer(manifest, packer.packed(), images)


def _read_maps(path: Path) -> AnnData:
    store = open_anndata(path)
    obs = store.obs.reset_index(drop=True)
    order = obs.sort_values(key_of(obs), kind="stable").index.to_numpy()
    return store[order].copy()


def _read_pictures(
    paths: dict[str, Path], stores: dict[str, AnnData]
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Pictures of observations on a map, as many as fit; for each experiment what they show."""
    on_a_map = pd.concat(
        [
            store.obs[[*KEY, "lineage_id"]].astype({"experiment": str, "fov": str})
            for store in stores.values()
        ]
    ).drop_duplicates(KEY)
    tables, of_experiment = [], {}
    for experiment, path in paths.items():
        verified_digest(path)
        read = read_parquet(path)
        with reading(path):
            facts = json.loads(read.schema.metadata[b"dynaclr"])
        of_experiment[experiment] = {key: facts[key] for key in ("markers", "height_um")}
        tables.append(read.to_pandas().assign(experiment=experiment))
    empty = pd.DataFrame({name: [] for name in [*KEY, "image"]})
    table = pd.concat(tables, ignore_index=True) if tables else empty
    table = table.merge(on_a_map, on=KEY)
    kept = [
        _within_budget(part, MAX_PICTURE_BYTES // len(of_experiment))
        for _, part in table.groupby("experiment")
    ]
    return (pd.concat(kept, ignore_index=True) if kept else table), of_experiment


def _within_budget(table: pd.DataFrame, max_bytes: int) -> pd.DataFrame:
    """Pictures of whole lineages that take at most about `max_bytes`."""
    n_bytes = int(table["image"].str.len().sum())
    if n_bytes <= max_bytes:
        return table
    return table.iloc[whole_lineages(table, len(table) * max_bytes // n_bytes)]


def _pack_model(
    model: str, store: AnnData, pictures: pd.DataFrame, packer: ArrayPacker
) -> dict[str, Any]:
    obs, facts = store.obs, map_facts(store)
    keys = pd.MultiIndex.from_frame(obs[KEY].astype({"experiment": str, "fov": str}))
    picture = pd.MultiIndex.from_frame(pictures[KEY]).get_indexer(keys).astype(np.int32)
    lineage = obs.groupby(["experiment", "fov", "lineage_id"], observed=True).ngroup().to_numpy()
    fov = obs["fov"].astype("category")
    parent = obs.get("parent_track_id", pd.Series(-1, obs.index))
    return {
        "name": model,
        "n": store.n_obs,
        "columns": [_pack_column(name, obs[name], packer) for name in _columns(obs)],
        "maps": [_pack_map(one, store.obsm[one["key"]], packer) for one in facts["maps"]],
        "fov": {
            "names": [str(n) for n in fov.cat.categories],
            "codes": packer.add(fov.cat.codes.to_numpy(np.uint16)),
        },
        "track": packer.add(obs["track_id"].to_numpy(np.int32)),
        "parent": packer.add(parent.to_numpy(np.int32)),
        "t": packer.add(obs["t"].to_numpy(np.int32)),
        "lineage": packer.add(lineage.astype(np.int32)),
        "picture": packer.add(picture),
        "chosen": [int(lineage[row]) for row in _choose_lineages(obs, lineage, picture)],
    }


def _columns(obs: pd.DataFrame) -> list[str]:
    """Columns to colour by: what differs between observations and is no key."""
    classes = [name for name in obs if name.endswith(("(truth)", "(annotations)", "(predicted)"))]
    first = [*_FIRST_COLUMNS, *classes]
    others = [
        name
        for name in obs
        if name not in first
        and name not in _NEVER_COLUMNS
        and obs[name].nunique() > 1
        and (pd.api.types.is_numeric_dtype(obs[name]) or obs[name].nunique() <= _MAX_CLASSES)
    ]
    return [*first, *others]


def _pack_column(name: str, values: pd.Series, packer: ArrayPacker) -> dict[str, Any]:
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        return {"name": name, "values": packer.add(values.to_numpy(np.float32))}
    values = values.astype("category")
    # 255 is unknown.
    codes = values.cat.codes.to_numpy().astype(np.int16) % 256
    names = [str(value) for value in values.cat.categories]
    return {"name": name, "names": names, "codes": packer.add(codes.astype(np.uint8))}


def _pack_map(facts: dict[str, Any], coordinates: np.ndarray, packer: ArrayPacker) -> dict:
    """Coordinates in 65,536 steps between their extremes: finer than any screen."""
    axes = []
    for label, values in zip(facts["axes"], np.asarray(coordinates, dtype=float).T, strict=False):
        share = (values - values.min()) / max(np.ptp(values), 1e-12)
        steps = np.round(share * 65535).astype(np.uint16)
        axes.append({"label": label, "steps": packer.add(steps)})
    title = f"{facts['method'].upper()}, {parse_variant(facts['variant']).title}"
    return {"title": title, "axes": axes}


def _choose_lineages(obs: pd.DataFrame, lineage: np.ndarray, picture: np.ndarray) -> list[int]:
    """A row of each of a few lineages to follow: the longest with pictures, conditions in turn."""
    pictured = pd.DataFrame(
        {
            "condition": obs["condition"].astype(str).to_numpy(),
            "experiment": obs["experiment"].astype(str).to_numpy(),
            "lineage": lineage,
            "row": np.arange(len(obs)),
        }
    )[picture >= 0]
    grouped = pictured.groupby(["condition", "experiment", "lineage"], as_index=False)
    sizes = grouped.agg(row=("row", "first"), n=("row", "size"))
    sizes = sizes.sort_values(["n", "lineage"], ascending=[False, True])
    best = sizes.groupby(["condition", "experiment"], sort=False).head(1)
    turn = best.groupby("condition").cumcount()
    return best.assign(turn=turn).sort_values(["turn", "condition"])["row"].tolist()[:_N_CHOSEN]


def _notes(n_models: int, stores: dict[str, AnnData], n_pictures: int) -> list[str]:
    """What is not shown, in words."""
    notes = []
    if n_models > len(stores):
        notes.append(f"{len(stores)} of {n_models} models are shown here.")
    for store in list(stores.values())[:1]:
        n_of = sum(map_facts(store)["n_cells"].values())
        n_cells = f"{store.n_obs:,} of {n_of:,}" if store.n_obs < n_of else f"all {n_of:,}"
        notes.append(
            f"The maps show {n_cells} cells; {n_pictures:,} of them have a picture here "
            "(whole lineages, drawn evenly from each experiment)."
        )
    return notes
