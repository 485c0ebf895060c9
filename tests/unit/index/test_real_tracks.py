"""Every track, parent and division of the real sets against their source tables."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dynaclr.config import Problems
from dynaclr.index import index_experiment
from dynaclr.index.repairs import Repairs
from dynaclr.index.tracks import read_tracks

SETS = {
    "ecoli_phase_ctc": ((53, 1, 1305, 1009), 714, 356, 3519),
    "ecoli_phase_foci": ((60, 1, 334, 366), 44, 16, 1148),
    "t98g_phase_gaps": ((37, 1, 512, 512), 34, 0, 799),
}


@pytest.fixture(params=SETS)
def indexed(request, shared_data: Path, experiment):
    """Source table, index and summary of one set."""
    name = request.param
    (frames, *volume), *_ = SETS[name]
    source = shared_data / name / "01.tracks.csv"
    entry = experiment(
        {"A/1/0": source.read_text()}, name=name, shapes={"A/1/0": (frames, 2, *volume)}
    )
    table, summary = index_experiment(entry)
    return name, pd.read_csv(source), table.to_pandas(), summary


def test_counts(indexed):
    name, _, _, summary = indexed
    _, tracks, divisions, rows = SETS[name]
    counts = summary["counts"]
    assert (counts["tracks"], counts["divisions"], counts["rows"]) == (tracks, divisions, rows)
    assert summary["repairs"] == {}


def test_every_observation_and_parent(indexed):
    _, source, cells, _ = indexed
    key = ["track_id", "t"]
    source, cells = source.set_index(key).sort_index(), cells.set_index(key).sort_index()
    assert source.index.equals(cells.index)
    np.testing.assert_array_equal(cells["parent_track_id"], source["parent_track_id"])
    for axis in "yx":
        np.testing.assert_array_equal(cells[axis], source[axis].astype(np.float32))


def test_every_track_and_division(indexed):
    _, source, cells, _ = indexed
    expected = source.groupby("track_id").agg(length=("t", "size"), last=("t", "max"))
    tracks = cells.groupby("track_id").agg(
        length=("track_length", "first"), n=("t", "size"), branch=("branch", "first")
    )
    assert tracks["length"].tolist() == expected["length"].tolist() == tracks["n"].tolist()
    daughters = source.drop_duplicates("track_id")["parent_track_id"].value_counts()
    mothers = daughters[(daughters.index >= 0) & (daughters > 1)].index
    dividing = cells[cells["frames_to_division"] == 0]
    assert sorted(dividing["track_id"]) == sorted(mothers)
    assert dividing["t"].tolist() == expected.loc[dividing["track_id"], "last"].tolist()
    assert sorted(tracks["branch"]) == list(range(len(tracks)))


def test_labels_that_were_derived_elsewhere(indexed, shared_data):
    name, _, cells, _ = indexed
    path = shared_data / name / "01.labels.csv"
    if not path.exists():
        assert name == "t98g_phase_gaps"
        assert (cells["frames_to_division"] == -1).all()
        assert (cells["generation"] == 0).all()
        return
    joined = cells.merge(pd.read_csv(path), on=["track_id", "t"], suffixes=("", "_label"))
    assert len(joined) == len(cells)
    np.testing.assert_array_equal(joined["generation"], joined["generation_label"])
    np.testing.assert_array_equal(
        joined["frames_to_division"], joined["frames_to_division_label"].fillna(-1)
    )
    root = joined.groupby("lineage_id")["root"]
    assert (root.nunique() == 1).all()
    assert root.first().nunique() == joined["lineage_id"].nunique()
    first = joined[joined["branch"] == joined.groupby("lineage_id")["branch"].transform("min")]
    np.testing.assert_array_equal(first["track_id"], first["root"])


def test_gaps_are_kept(shared_data):
    (frames, *volume), *_ = SETS["t98g_phase_gaps"]
    rows = read_tracks(
        shared_data / "t98g_phase_gaps" / "01.tracks.csv",
        (frames, *volume),
        Problems(),
        Repairs(),
    )
    span = pd.DataFrame({"track": rows.track_id, "t": rows.t}).groupby("track")["t"]
    assert ((span.max() - span.min() + 1) > span.size()).sum() == 7
