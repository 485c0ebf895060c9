"""Plan of a patch store: what it must hold for all models that read from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dynaclr.config import ExperimentConfig
from dynaclr.config.experiment import PatchStoreConfig
from dynaclr.data.patch_store.reader import WHOLE_STACK, StoreFacts, side_for
from dynaclr.data.patch_store.requirements import must_agree, must_be_as_deep, must_normalize_alike
from dynaclr.data.pixels.patch_geometry import FieldsOfView, PatchConfig, patch_sources
from dynaclr.data.pixels.patch_source import PatchSource
from dynaclr.data.statistics.focus import leading_markers
from dynaclr.data.statistics.normalization import NormalizationConfig
from dynaclr.io.artifacts import read_digest


@dataclass(frozen=True)
class PatchSpec:
    """Which patches a model reads and how it normalizes them: what a store must hold for it.

    Attributes
    ----------
    patches : PatchConfig
    extraction_size : tuple of int
    normalization : NormalizationConfig
    """

    patches: PatchConfig
    extraction_size: tuple[int, int]
    normalization: NormalizationConfig

    @classmethod
    def of(cls, data: dict[str, Any]) -> PatchSpec:
        """Take it from the ``data`` part of a training configuration."""
        chosen: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in data["patches"].items()
        }
        patches = PatchConfig(**chosen)
        height, width = data.get("extraction_size") or patches.size
        return cls(patches, (height, width), NormalizationConfig(**data.get("normalization", {})))


def plan_store(
    entry: ExperimentConfig,
    store: PatchStoreConfig,
    fields: FieldsOfView,
    specs: Sequence[PatchSpec],
    folder: Path,
) -> tuple[list[PatchSource], StoreFacts]:
    """Plan a store that serves all specs.

    Parameters
    ----------
    entry : ExperimentConfig
        The experiment.
    store : PatchStoreConfig
        What its entry says of the store.
    fields : FieldsOfView
        Its fields of view.
    specs : sequence of PatchSpec
    folder : Path
        The experiment's results: index and statistics.

    Returns
    -------
    sources : list of PatchSource
        How crops are read from the plate.
    facts : StoreFacts

    Raises
    ------
    UserError
        When one store cannot serve all specs.
    """
    wanted = {marker for spec in specs for marker in spec.patches.markers}
    markers = tuple(marker for marker in entry.markers if marker in wanted)
    sources, side = _sources(entry, fields, specs, markers)
    depth, window, leading = _window(entry, fields, specs)
    normalization = None
    if store.dtype != "native":
        normalizations = {spec.normalization for spec in specs}
        must_normalize_alike(entry, normalizations)
        normalization = asdict(normalizations.pop())
    facts = StoreFacts(
        cells=read_digest(folder / "cells.parquet"),
        statistics=read_digest(folder / "statistics.parquet"),
        plate=fields.plates[entry.name].digest(),
        n=len(fields.index),
        markers=markers,
        side=side,
        depth=depth,
        z_window=window,
        leading=leading,
        level=sources[0].level,
        dtype=store.dtype,
        compressor=store.compressor,
        normalization=normalization,
    )
    if window == WHOLE_STACK:
        sources = [replace(source, z_start=0) for source in sources]
    return [_with_size(source, side) for source in sources], facts


def _sources(
    entry: ExperimentConfig,
    fields: FieldsOfView,
    specs: Sequence[PatchSpec],
    markers: tuple[str, ...],
) -> tuple[list[PatchSource], tuple[int, int]]:
    """How the plate is read, and the extent of crops that hold every spec's patches."""
    needed, levels = [], set()
    for spec in specs:
        patches = replace(spec.patches, markers=markers)
        sources = patch_sources(fields, patches, spec.extraction_size)
        needed += [side_for(source.size, source.margin) for source in sources]
        levels |= {source.level for source in sources}
    must_agree(entry, levels, "read different resolution levels")
    height, width = np.max(needed, axis=0).tolist()
    return sources, (height, width)


def _window(
    entry: ExperimentConfig, fields: FieldsOfView, specs: Sequence[PatchSpec]
) -> tuple[int, str, dict[str, str]]:
    """Planes of a crop, where they lie, and the marker of each well whose focus they follow."""
    windows = {(spec.patches.depth, spec.patches.z_window) for spec in specs}
    planes = set(fields.n_planes.tolist())
    if len(windows) == 1:
        ((depth, window),) = windows
        if window != "focus" or max(planes) == depth:
            return depth, window, {}
        leading = _leading(fields, specs)
        if leading is not None:
            return depth, window, leading
    must_be_as_deep(entry, planes)
    return planes.pop(), WHOLE_STACK, {}


def _leading(fields: FieldsOfView, specs: Sequence[PatchSpec]) -> dict[str, str] | None:
    """Marker of each well whose focus all specs follow; None where they differ."""
    found: dict[str, str] = {}
    for spec in specs:
        markers = leading_markers(fields, spec.patches.markers)
        for position, marker in zip(fields.positions, markers, strict=True):
            if marker and found.setdefault(position.well, marker) != marker:
                return None
    return found


def _with_size(source: PatchSource, side: tuple[int, int]) -> PatchSource:
    """The source with crops of the store's extent, or of the image's where that is smaller."""
    height, width = source.position.layout(source.level).shape[-2:]
    return replace(source, size=(min(side[0], height), min(side[1], width)), margin=(0, 0))
