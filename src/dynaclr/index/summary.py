"""What an index holds, in a few lines."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dynaclr.index.multi import MultiExperimentIndex


def summarize_index(path: str | Path) -> dict[str, str]:
    """Name and text of what should be known of an index.

    Parameters
    ----------
    path : str or Path
        ``cells.parquet`` of an experiment, or ``index.arrow`` of a collection.

    Raises
    ------
    UserError
        When it is no index.
    """
    merged = Path(path).suffix == ".arrow"
    if merged:
        read = MultiExperimentIndex.from_merged(path)
    else:
        read = MultiExperimentIndex.from_parquet([path])
    tracks = read.tracks
    place = ["experiment", "fov"]
    lines = {
        "experiments": ", ".join(read.experiments),
        "cells": f"{len(tracks):,} in {_n(tracks, [*place, 'track_id'])} tracks of "
        f"{_n(tracks, [*place, 'lineage_id'])} lineages",
        "fields of view": f"{_n(tracks, place)} in {_n(tracks, ['experiment', 'well'])} wells",
        "conditions": ", ".join(
            f"{name} ({count:,})" for name, count in tracks["condition"].value_counts().items()
        ),
        "hours": f"{tracks['hours'].min():.1f} to {tracks['hours'].max():.1f}",
        "columns": ", ".join(read.columns),
    }
    if merged:
        parts = {side: len(read.rows(side)) for side in ("train", "validation")}
        lines["split"] = ", ".join(f"{side} {count:,}" for side, count in parts.items())
    return lines


def _n(tracks: pd.DataFrame, columns: list[str]) -> str:
    return f"{len(tracks[columns].drop_duplicates()):,}"
