"""Checks that one patch store can serve all models of an experiment."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from dynaclr.config import ExperimentConfig, UserError
from dynaclr.data.statistics.normalization import NormalizationConfig
from dynaclr.io.plate import plate_facts


def check_patch_specs(entry: ExperimentConfig, specs: Sequence[Mapping[str, Any]]) -> None:
    """Check that one store can serve all models, as far as that is known before it is built.

    Parameters
    ----------
    entry : ExperimentConfig
        Its experiment.
    specs : sequence of mapping
        From `dynaclr.config.patch_specs.patch_specs_of`.

    Raises
    ------
    UserError
        When one store cannot serve them all.
    """
    if specs and entry.patch_store and entry.patch_store.dtype != "native":
        must_normalize_alike(
            entry, {NormalizationConfig(**spec.get("normalization", {})) for spec in specs}
        )
    windows = {
        (spec["patches"].get("depth", 1), spec["patches"].get("z_window", "focus"))
        for spec in specs
    }
    # The plate of a simulation may be that of an earlier one.
    if len(windows) > 1 and entry.simulation is None:
        must_be_as_deep(entry, plate_facts(entry).planes)


def must_normalize_alike(
    entry: ExperimentConfig, normalizations: Collection[NormalizationConfig]
) -> None:
    """Check that models normalize alike, as a store of normalized pixels needs."""
    assert entry.patch_store is not None, "only stores of normalized pixels need it"
    dtype = entry.patch_store.dtype
    must_agree(entry, normalizations, f"normalize differently, and dtype is {dtype}")


def must_be_as_deep(entry: ExperimentConfig, planes: Collection[int]) -> None:
    """Check that stacks have one depth, as a store for several windows needs."""
    must_agree(entry, planes, "read different windows of stacks that differ in depth")


def must_agree(entry: ExperimentConfig, values: Collection[Any], what: str) -> None:
    """Check that the models that use an experiment agree on something.

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
