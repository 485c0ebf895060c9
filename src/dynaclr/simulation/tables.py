"""Tracks, annotations and truth of a simulated field of view."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dynaclr.config.simulation import SimulationConfig
from dynaclr.io.track_columns import TRACK_COLUMNS, add_ids
from dynaclr.simulation.population import Population

# A cell that was out of sight for longer is a new track when it comes back.
LONGEST_GAP = 2
DIVISION_SOON = 3
# Below the first a person sees a normal cell, above the second an altered one.
CLEARLY_NORMAL, CLEARLY_ALTERED = 0.15, 0.5


def observe(
    population: Population,
    config: SimulationConfig,
    pixel_size_um: float,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Observations that a tracker makes of a population, one row a cell and frame.

    Cells count while their centre is inside the image; some observations are missed, positions
    have an error, and a cell that is away for more than two frames comes back as a new track.

    Parameters
    ----------
    population : Population
        The cells and where they are.
    config : SimulationConfig
        Size of the image, the tracker's error and misses.
    pixel_size_um : float
        Micrometres a pixel.
    rng : numpy.random.Generator
        Source of errors and misses.

    Returns
    -------
    pandas.DataFrame
        Columns ``track_id, t, y, x, id, parent_track_id, parent_id`` (y, x in pixels; -1 = no
        parent) and ``cell``, the number in the population, sorted by track and frame.
    """
    seen = _observed_cells(population, config, pixel_size_um, rng)
    seen = seen.sort_values(["cell", "t"], ignore_index=True)
    new_cell = seen["cell"].diff().ne(0)
    seen["track_id"] = (new_cell | seen["t"].diff().gt(LONGEST_GAP + 1)).cumsum()
    parents = _parent_tracks(seen, seen[new_cell], population)
    seen["parent_track_id"] = seen["track_id"].map(parents).fillna(-1).astype(np.int64)
    return add_ids(seen)[[*TRACK_COLUMNS, "cell"]]


def _observed_cells(
    population: Population,
    config: SimulationConfig,
    pixel_size_um: float,
    rng: np.random.Generator,
) -> pd.DataFrame:
    extent = np.array([config.height, config.width]) - 1
    parts = []
    for t, frame in enumerate(population.frames):
        yx = frame.yx_um / pixel_size_um
        error = config.tracking_error_um / pixel_size_um * rng.standard_normal(yx.shape)
        missed = rng.uniform(size=len(yx)) < config.missed_fraction
        inside = ((yx >= 0) & (yx <= extent)).all(1) & ~missed
        yx = np.clip(yx + error, 0, extent)[inside].round(3)
        parts.append(
            pd.DataFrame({"cell": frame.numbers[inside], "t": t, "y": yx[:, 0], "x": yx[:, 1]})
        )
    return pd.concat(parts, ignore_index=True)


def _parent_tracks(seen: pd.DataFrame, births: pd.DataFrame, population: Population) -> pd.Series:
    """Track of the mother by track, of those that begin soon after she was last seen."""
    last = seen.drop_duplicates("cell", keep="last").set_index("cell")
    mothers = last.reindex([population.cells[cell].mother for cell in births["cell"]])
    soon = births["t"].to_numpy() - mothers["t"].to_numpy() <= LONGEST_GAP + 1
    return pd.Series(mothers["track_id"].to_numpy()[soon], index=births["track_id"][soon])


def truth(
    observations: pd.DataFrame, population: Population, config: SimulationConfig
) -> pd.DataFrame:
    """What is true of each observation's cell.

    Returns
    -------
    pandas.DataFrame
        ``track_id, t`` and: ``infected``, ``responder`` (bool), ``onset_hours`` (hours post
        infection; NaN without a response), ``response`` (progress 0 to 1 at that frame),
        ``responding`` (whether ``response`` is above ``config.responding_above``).
    """
    hours = np.array([frame.hours for frame in population.frames])[observations["t"]]
    fates = [population.cells[number].fate for number in observations["cell"]]
    table = observations[["track_id", "t"]].copy()
    table["infected"] = [fate.infected for fate in fates]
    table["responder"] = [fate.responder for fate in fates]
    table["onset_hours"] = np.round([fate.onset_hours for fate in fates], 4)
    response = np.array([f.response(h) for f, h in zip(fates, hours, strict=True)])
    table["response"] = response.round(4)
    table["responding"] = response > config.responding_above
    return table


def annotate(
    observations: pd.DataFrame,
    truth: pd.DataFrame,
    population: Population,
    config: SimulationConfig,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Labels as a person could give them to some of the tracks; the rest is empty.

    Returns
    -------
    pandas.DataFrame
        ``track_id, t`` and: ``mitotic`` (1 in the last frame before and the first after a
        division), ``divides_within_3`` (1 when the cell divides within 3 frames), both empty where
        the movie does not show it; ``cell_state`` (normal, altered or mitotic; empty in doubt).
    """
    labels = observations[["track_id", "t"]].copy()
    tracks = observations["track_id"].unique()
    chosen = tracks[rng.uniform(size=len(tracks)) < config.annotated_fraction]
    annotated = observations["track_id"].isin(chosen)
    mitotic, soon = _division_labels(observations)
    labels["mitotic"] = mitotic.where(annotated)
    labels["divides_within_3"] = soon.where(annotated)
    state = _visible_state(observations, truth, population)
    labels["cell_state"] = state.where(annotated)
    return labels


def _division_labels(observations: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    by_track = observations.groupby("track_id")["t"]
    is_first = observations["t"] == by_track.transform("first")
    frames_left = by_track.transform("last") - observations["t"]
    has_parent = observations["parent_track_id"] >= 0
    divides = observations["track_id"].isin(observations["parent_track_id"])
    mitotic = ((is_first & has_parent) | (frames_left.eq(0) & divides)).astype("Int64")
    mitotic = mitotic.mask(frames_left.eq(0) & ~divides & mitotic.eq(0))
    soon = (divides & (frames_left < DIVISION_SOON)).astype("Int64")
    return mitotic, soon.mask(~divides & (frames_left < DIVISION_SOON))


def _visible_state(
    observations: pd.DataFrame, truth: pd.DataFrame, population: Population
) -> pd.Series:
    hours = [frame.hours for frame in population.frames]
    rounding = np.array(
        [
            population.cells[cell].rounding(hours[t])
            for cell, t in zip(observations["cell"], observations["t"], strict=True)
        ]
    )
    response = truth["response"].to_numpy()
    state = np.full(len(observations), None, dtype=object)
    state[response < CLEARLY_NORMAL] = "normal"
    state[response > CLEARLY_ALTERED] = "altered"
    state[rounding > 0.5] = "mitotic"
    return pd.Series(state, index=observations.index)


def with_fov(table: pd.DataFrame, fov: str) -> pd.DataFrame:
    """The table with the field of view's name as its first column."""
    return table.assign(fov=fov)[["fov", *table.columns]]


def count_divisions(tracks: pd.DataFrame) -> int:
    """Tracks that are a parent of at least one other track."""
    parents = tracks["parent_track_id"]
    return int(parents[parents >= 0].nunique())
