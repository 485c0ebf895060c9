"""A new project for a lab's own plates: templates, filled with what plates and tracks say.

Everything that cannot be read from them is a guess that the written files name as one.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy.spatial import cKDTree

from dynaclr.config import ExperimentConfig, Problems, UserError
from dynaclr.config.grammar import dump_yaml
from dynaclr.config.project import load_project
from dynaclr.config.registry import load_entry, validate_entry
from dynaclr.index import index_experiment
from dynaclr.index.columns import SCHEMA
from dynaclr.io import Plate
from dynaclr.io.artifacts import write_text
from dynaclr.io.disk_checks import check_all_on_disk
from dynaclr.io.plate import plate_facts

# A patch shows about one and a half cell diameters (config/README.md).
DIAMETERS = 1.5
# Sizes are multiples of it, since encoders halve them several times.
MULTIPLE = 8
SMALLEST, LARGEST = 24, 256
# With fewer fields of view, lineages are kept for validation instead.
MIN_FIELDS = 4
# Rotation by any angle needs the diagonal, scaling by a tenth a little more.
MARGIN = 1.45
MAX_CLASSES = 10
MAX_DEPTH = 15
# Frames that spacing is measured in.
MAX_FRAMES = 200


@dataclass(frozen=True)
class Found:
    """What an experiment's plate and tracks say.

    Attributes
    ----------
    entry : ExperimentConfig
    fields : int
        Fields of view with observations.
    lineages, observations : int
    depth : int
        Planes of its thinnest stack.
    pixel_size_um : float
    spacing_px : float
        Lower quartile of the distances from a cell to its nearest neighbour in the frame, in
        pixels: about a diameter where cells touch. NaN without two cells in a frame.
    labels : tuple of str
        Columns of its annotations that hold classes.
    """

    entry: ExperimentConfig
    fields: int
    lineages: int
    observations: int
    depth: int
    pixel_size_um: float
    spacing_px: float
    labels: tuple[str, ...]


def propose_entry(
    data_path: Path,
    tracks_path: Path,
    name: str,
    interval_minutes: float,
    start_hpi: float = 0.0,
    annotations: Path | None = None,
) -> dict[str, Any]:
    """Propose the entry of a plate: all its channels, and all its wells in one condition.

    Parameters
    ----------
    data_path, tracks_path, annotations : Path
        As the entry's keys.
    name : str
        Name of the experiment.
    interval_minutes, start_hpi : float
        What no plate says reliably.

    Returns
    -------
    dict
        Keys and values of the entry.

    Raises
    ------
    UserError
        When there is no such plate.
    """
    plate = Plate(data_path)
    wells = sorted({position.well for position in plate.positions.values()})
    content: dict[str, Any] = {
        "name": name,
        "data_path": os.fspath(data_path.absolute()),
        "tracks_path": os.fspath(tracks_path.absolute()),
        "channels": [
            {"name": channel, "marker": str(channel).lower()} for channel in plate.channels
        ],
        "condition_wells": {"untreated": wells},
        "interval_minutes": interval_minutes,
        "start_hpi": start_hpi,
    }
    if annotations is not None:
        content["annotations"] = os.fspath(annotations.absolute())
    return content


def write_project(
    out: Path,
    template: Path,
    *,
    entries: Sequence[Path] = (),
    proposed: dict[str, Any] | None = None,
    cell_diameter_um: float | None = None,
) -> list[Found]:
    """Write ``config.yaml``, ``experiments/*.yaml`` and ``training/*.yaml`` of a new project.

    In the folder of a project, only the entry of a further experiment is added.

    Parameters
    ----------
    out : Path
        Folder of the project.
    template : Path
        Folder of the templates, ``config/template`` of the repository.
    entries : sequence of Path
        Files of experiments, as the importers leave them; the project refers to them.
    proposed : dict, optional
        Entry of one more experiment, which is written to ``experiments/<name>.yaml``.
    cell_diameter_um : float, optional
        Diameter of a cell; by default it is estimated from the spacing of cells.

    Returns
    -------
    list of Found
        What the experiments hold.

    Raises
    ------
    UserError
        When there is no experiment, one of its files exists already, or a plate or its tracks
        have errors.
    """
    config = out / "config.yaml"
    if config.exists() and entries:
        raise UserError(f"{config}: exists already. Add the files to its `experiments`.")
    found = [describe(load_entry(path)) for path in entries]
    values = {"schema": _relative(template.parent.parent / "workflow/schemas", out), "file": config}
    if proposed is not None:
        file = out / "experiments" / f"{proposed['name']}.yaml"
        if file.exists():
            raise UserError(f"{file}: exists already. Choose another --name.")
        found.append(describe(_validated(proposed, out)))
        text = dump_yaml(proposed)
        of_entry = {"schema": f"../{values['schema']}", "entry": text}
        write_text(file, _filled(template / "experiment.yaml", of_entry))
    if not found:
        raise UserError("new: no experiment given. Name a plate and its tracks, or entry files.")
    if not config.exists():
        listed = [_relative(path, out) for path in entries]
        listed += ["experiments/*.yaml"] if proposed is not None else []
        values |= _project_values(found, listed) | _training_values(found, cell_diameter_um)
        for name in ("config.yaml", "training/cpu.yaml", "training/gpu.yaml"):
            write_text(out / name, _filled(template / name, values))
    load_project(config, check_files=check_all_on_disk)
    return found


def describe(entry: ExperimentConfig) -> Found:
    """What an experiment's plate and tracks say; its index is built in memory.

    Raises
    ------
    UserError
        With every error of the plate and the tracking tables.
    """
    table, summary = index_experiment(entry)
    cells = table.select(["fov", "t", "y", "x", "lineage_id"]).to_pandas()
    return Found(
        entry=entry,
        fields=cells["fov"].nunique(),
        lineages=cells["lineage_id"].nunique(),
        observations=len(cells),
        depth=min(plate_facts(entry).planes),
        pixel_size_um=float(np.median(summary["plate"]["pixel_size_um"])),
        spacing_px=_spacing(cells),
        labels=_class_columns(table, entry),
    )


def describe_found(out: Path, found: Sequence[Found]) -> list[str]:
    """Lines that say what was found and what to look at next."""
    lines = []
    for of in found:
        entry = of.entry
        channels = ", ".join(str(channel.name) for channel in entry.channels)
        apart = of.spacing_px * of.pixel_size_um
        lines += [
            f"{entry.name}: {of.observations:,} observations of {of.lineages:,} lineages in "
            f"{of.fields} field(s) of view",
            f"  channels {channels}; wells {', '.join(entry.condition_of_well)}; {of.depth} "
            f"plane(s); {of.pixel_size_um:g} um a pixel; a frame every {entry.interval_minutes:g} "
            f"min; neighbours {apart:.3g} um apart; labels {', '.join(of.labels) or 'none'}",
        ]
    return [
        *lines,
        f"Look through {out}/config.yaml and the entries: markers, conditions, hours. Then",
        f"  dynaclr check --project {out}/config.yaml",
        f"  snakemake --cores all --configfile {out}/config.yaml",
    ]


def _validated(content: dict[str, Any], out: Path) -> ExperimentConfig:
    problems = Problems()
    entry = validate_entry(content, out, "new", problems)
    problems.raise_if_any()
    assert entry is not None
    return entry


def _spacing(cells: pd.DataFrame) -> float:
    """Lower quartile of distances to the nearest neighbour, over frames spread over the movie."""
    frames = [part[["y", "x"]].to_numpy() for _, part in cells.groupby(["fov", "t"], observed=True)]
    frames = [points for points in frames if len(points) > 1]
    if not frames:
        return math.nan
    chosen = frames[:: max(1, len(frames) // MAX_FRAMES)]
    nearest = [cKDTree(points).query(points, k=2)[0][:, 1] for points in chosen]
    return float(np.quantile(np.concatenate(nearest), 0.25))


def _class_columns(table: pa.Table, entry: ExperimentConfig) -> tuple[str, ...]:
    """Columns of the annotations that hold two to `MAX_CLASSES` classes."""
    others = {*SCHEMA.names, *entry.metadata}
    columns = []
    for name in table.column_names:
        if name not in others:
            classes = {value for value in table[name].unique().to_pylist() if value is not None}
            columns += [name] if 2 <= len(classes) <= MAX_CLASSES else []
    return tuple(columns)


def patch_edge(diameter_um: float, pixel_size_um: float) -> int:
    """Edge of a patch for cells of a diameter, in pixels: a multiple of `MULTIPLE`."""
    size = MULTIPLE * round(DIAMETERS * diameter_um / pixel_size_um / MULTIPLE)
    return min(max(size, SMALLEST), LARGEST)


def _project_values(found: list[Found], listed: list[str]) -> dict[str, str]:
    """Placeholders of ``config.yaml``."""
    few = min(of.fields for of in found) < MIN_FIELDS
    fraction = "validation_lineage_fraction" if few else "validation_fov_fraction"
    labels = sorted({label for of in found for label in of.labels})
    return {
        "experiments": _flow(listed),
        "train": _flow([of.entry.name for of in found]),
        "validation": fraction,
        "tasks": _flow([{"name": label, "label": label} for label in labels]),
    }


def _training_values(found: list[Found], diameter_um: float | None) -> dict[str, Any]:
    """Placeholders of the training files."""
    markers = sorted({marker for of in found for marker in of.entry.markers})
    size, reference_um, reason = _patch_size(found, diameter_um)
    step = max(of.entry.interval_minutes for of in found) / 60
    depth = min(MAX_DEPTH, *(of.depth for of in found))
    stem = 5 if depth >= 5 else depth
    shown = "null" if reference_um is None else f"{reference_um:g}"
    return {
        "markers": _flow(markers),
        "n_markers": len(markers),
        "size": size,
        "size_reason": reason,
        "extraction": 2 * math.ceil(size * MARGIN / 2),
        "reference": shown,
        "tau_range": _flow([0.5, 2.0] if step <= 0.5 else [round(step, 4), round(3 * step, 4)]),
        "depth": depth - depth % stem,
        "stem": stem,
    }


def _patch_size(found: list[Found], diameter_um: float | None) -> tuple[int, float | None, str]:
    """Edge of a patch in pixels, the pixel size that it is meant for, and where it comes from."""
    sizes = [of.pixel_size_um for of in found]
    reference = float(np.median(sizes))
    if diameter_um is None:
        spacings = [of.spacing_px * of.pixel_size_um for of in found]
        known = [spacing for spacing in spacings if math.isfinite(spacing)]
        if not known:
            raise UserError(
                "new: no frame has two cells, so that nothing says how large cells are. "
                "Give --cell-diameter-um."
            )
        diameter_um, source = float(np.median(known)), "the distance between neighbours"
    else:
        source = "the diameter that was given"
    size = patch_edge(diameter_um, reference)
    reason = f"{DIAMETERS:g} cell diameters of {diameter_um:.3g} um, by {source}."
    return size, None if max(sizes) < 1.02 * min(sizes) else reference, reason


def _filled(template: Path, values: dict[str, Any]) -> str:
    return Template(template.read_text(encoding="utf-8")).substitute(values)


def _flow(content: Any) -> str:
    """YAML on one line."""
    return json.dumps(content, ensure_ascii=False)


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()
