"""Section `sampling` of the data module: how batches are composed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SamplingConfig:
    """How a batch is composed; see `dynaclr.sampling.FlexibleBatchSampler`.

    Attributes
    ----------
    batch_group_by
        All rows of a batch share this column's value (or these columns').
    stratify_by
        A batch holds equal shares of this column's values.
    leaky
        Share of rows from other groups.
    group_weights
        Weight of every group: its share of the batches. Default: by its rows.
    temporal_enrichment, temporal_window_hours, temporal_global_fraction
        Whether a batch centres on a focal hour, how wide the window is, and the share of rows
        from all hours.
    """

    batch_group_by: str | list[str] | None = "experiment"
    stratify_by: str | list[str] | None = "condition"
    leaky: float = 0.0
    group_weights: dict[str, float] | None = None
    temporal_enrichment: bool = False
    temporal_window_hours: float = 2.0
    temporal_global_fraction: float = 0.3
