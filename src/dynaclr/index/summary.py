"""Summary of an index: a few lines of text for `dynaclr info`."""

from __future__ import annotations

from pathlib import Path

from dynaclr.index.multi import MultiExperimentIndex


def summarize_index(path: str | Path) -> dict[str, str]:
    """Name and text of what should be known of an index.

    Parameters
    ----------
    path : str or Path
        ``cells.parquet`` of an experiment, or ``index.arrow`` of a collection.

    Returns
    -------
    dict of str to str

    Raises
    ------
    UserError
        When it is no index.
    """
    if Path(path).suffix == ".arrow":
        index = MultiExperimentIndex.from_merged(path)
    else:
        index = MultiExperimentIndex.from_parquet([path])
    summary = index.summary()
    total = summary.sum(numeric_only=True)
    conditions = index.tracks["condition"].value_counts()
    lines = {
        "experiments": ", ".join(index.experiments),
        "observations": f"{total['rows']:,.0f} in {total['tracks']:,.0f} tracks of "
        f"{total['lineages']:,.0f} lineages",
        "fields of view": f"{total['fovs']:,.0f} in {total['wells']:,.0f} wells",
        "conditions": ", ".join(f"{name} ({count:,})" for name, count in conditions.items()),
        "hours": f"{summary['first_hour'].min():.1f} to {summary['last_hour'].max():.1f}",
        "columns": ", ".join(index.columns),
    }
    if "train" in summary:
        sides = ("train", "validation")
        lines["split"] = ", ".join(f"{side} {total[side]:,.0f}" for side in sides)
    return lines
