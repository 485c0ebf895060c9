"""What a project's models ask of an experiment's patch store, and what of it can be told early."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from dynaclr.config import ExperimentConfig, UserError
from dynaclr.data.statistics.lookup import NormalizationConfig
from dynaclr.io.plate import plate_facts


def check_cuts(entry: ExperimentConfig, cuts: Sequence[Mapping[str, Any]]) -> None:
    """Hold what models ask of a patch store against each other, before anything is built.

    Parameters
    ----------
    entry : ExperimentConfig
        Its experiment.
    cuts : sequence of mapping
        From `dynaclr.config.patch_specs.patch_specs_of`.

    Raises
    ------
    UserError
        When one store cannot serve them all.
    """
    if cuts and entry.patch_store.dtype != "native":
        must_normalize_alike(
            entry, {NormalizationConfig(**cut.get("normalization", {})) for cut in cuts}
        )
    windows = {
        (cut["patches"].get("depth", 1), cut["patches"].get("z_window", "focus")) for cut in cuts
    }
    # The plate of a simulation may be that of an earlier one.
    if len(windows) > 1 and entry.simulation is None:
        facts, used = plate_facts(entry.data_path), entry.condition_of_well
        # Of fields of view that are left out the depth does not count: the build tells.
        if not entry.exclude_fovs and all(well in used for well in facts.wells):
            must_be_as_deep(entry, facts.planes)


def must_normalize_alike(
    entry: ExperimentConfig, normalizations: Collection[NormalizationConfig]
) -> None:
    """A store of normalized pixels serves one normalization."""
    must_agree(
        entry, normalizations, f"normalize differently, and dtype is {entry.patch_store.dtype}"
    )


def must_be_as_deep(entry: ExperimentConfig, planes: Collection[int]) -> None:
    """A store for several windows holds whole stacks, which then have one depth."""
    must_agree(entry, planes, "read different windows of stacks that differ in depth")


def must_agree(entry: ExperimentConfig, values: Collection[Any], what: str) -> None:
    """Models that differ in something cannot be served by one store.

    Raises
    ------
    UserError
        When `values` are several.
    """
    if len(set(values)) > 1:
        raise UserError(
            f"experiment {entry.name}: the models that use it {what}, so one patch store cannot "
            "serve them. Remove `patches` from its entry, or make them agree."
        )
