"""An imported Cell Tracking Challenge sequence has the pixels, tracks and labels of its source."""

import numpy as np
import pandas as pd
import pytest
import tifffile
from tests.unit.importers.imported import CORNERS, OPTIONS, pixels, tracks, write_ctc

from dynaclr.config import UserError, load_entry
from dynaclr.importers import ImportOptions, import_ctc
from dynaclr.io import Plate
from dynaclr.io.plate_writer import PlateLayout


@pytest.mark.parametrize("first_frame", [0, 7])
def test_ctc_gives_images_centroids_and_lineage(tmp_path, first_frame):
    movie = write_ctc(tmp_path / "set", first_frame)
    seen = []
    summary = import_ctc(
        tmp_path / "set",
        tmp_path / "out",
        OPTIONS,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert summary == {
        "experiment": "out",
        "entry": str(tmp_path / "out" / "experiment.yaml"),
        "channels": ["Phase"],
        "fields": 1,
        "frames": 4,
        "rows": 9,
        "tracks": 4,
        "divisions": 1,
    }
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert np.array_equal(pixels(tmp_path / "out")[:, 0], movie)
    table = tracks(tmp_path / "out").set_index(["track_id", "t"])
    assert list(table.index) == [
        *[(1, 0), (1, 1), (2, 0), (2, 2), (2, 3)],
        *[(3, 2), (3, 3), (4, 2), (4, 3)],
    ]
    for (track, _), row in table.iterrows():
        y, x = CORNERS[track]
        assert (row["y"], row["x"]) == (y + 1, x + 1.5)
    assert table["id"].is_unique
    assert table.loc[3, "parent_track_id"].tolist() == [1, 1]
    assert table.loc[(4, 2), "parent_id"] == table.loc[(1, 1), "id"]
    assert table.loc[(2, 2), "parent_id"] == table.loc[(2, 0), "id"]
    assert table.loc[(1, 0), ["parent_track_id", "parent_id"]].tolist() == [-1, -1]


@pytest.mark.parametrize("first_frame", [0, 7])
def test_frames_count_from_the_first_mask_even_if_it_is_empty(tmp_path, first_frame):
    write_ctc(tmp_path / "set", first_frame)
    mask = tmp_path / "set" / f"01_GT/TRA/man_track{first_frame:03d}.tif"
    tifffile.imwrite(mask, np.zeros((20, 24), np.uint16))
    import_ctc(tmp_path / "set", tmp_path / "out", OPTIONS)
    frames = tracks(tmp_path / "out").groupby("track_id")["t"].agg(list)
    assert frames.to_dict() == {1: [1], 2: [2, 3], 3: [2, 3], 4: [2, 3]}


@pytest.mark.parametrize("first_frame", [0, 150])
def test_labels_go_where_the_frames_go(tmp_path, first_frame):
    write_ctc(tmp_path / "set", first_frame)
    labels = tmp_path / "labels.csv"
    labels.write_text(f"track_id,t,mitotic\n1,{first_frame + 1},007\n3,{first_frame + 2},NA\n")
    summary = import_ctc(tmp_path / "set", tmp_path / "out", OPTIONS, labels=labels)
    assert summary["labels"] == 2
    expected = "fov,track_id,t,mitotic\nA/1/0,1,1,007\nA/1/0,3,2,NA\n"
    assert (tmp_path / "out" / "annotations.csv").read_text() == expected


@pytest.mark.parametrize("name", ["01_RES", "elsewhere"])
def test_results_of_trackers_are_read_where_there_is_no_truth(tmp_path, name):
    folder = tmp_path / "set"
    write_ctc(folder, 3)
    import_ctc(folder, tmp_path / "truth", OPTIONS)
    result = folder / name
    (folder / "01_GT/TRA").rename(result)
    (result / "man_track.txt").rename(result / "res_track.txt")
    for mask in result.glob("man_track*.tif"):
        mask.rename(mask.with_name(mask.name.replace("man_track", "mask")))
    chosen = None if name == "01_RES" else result
    import_ctc(folder, tmp_path / "out", OPTIONS, result=chosen)
    pd.testing.assert_frame_equal(tracks(tmp_path / "out"), tracks(tmp_path / "truth"))


def test_entry_is_ready_to_use(tmp_path):
    write_ctc(tmp_path / "set")
    options = ImportOptions(
        interval_minutes=5,
        name="colony",
        start_hpi=-1.5,
        condition="drug",
        pixel_size_um=0.65,
        markers={"DIC": "label-free"},
        extra={"microscope": "lab-2", "metadata": {"plate": 7}},
    )
    import_ctc(tmp_path / "set", tmp_path / "out", options, channel="DIC")
    entry = load_entry(tmp_path / "out" / "experiment.yaml")
    assert entry.name == "colony"
    assert entry.data_path == tmp_path / "out" / "plate.zarr"
    assert entry.tracks_path == tmp_path / "out" / "tracks"
    assert entry.condition_of_well == {"A/1": "drug"}
    assert entry.channel_name("label-free") == "DIC"
    assert (entry.interval_minutes, entry.start_hpi) == (5, -1.5)
    assert (entry.pixel_size_um, entry.microscope) == (0.65, "lab-2")
    assert entry.metadata == {"plate": 7}
    assert entry.annotations is None
    scale = Plate(entry.data_path).positions["A/1/0"].levels[0].scale
    assert scale == (300.0, 1.0, 1.0, 0.65, 0.65)


def test_real_ctc_sequence(tmp_path, shared_data):
    source = shared_data / "ecoli_phase_ctc"
    out = tmp_path / "out"
    options = ImportOptions(interval_minutes=1, layout=PlateLayout("0.5", shard_frames=4))
    summary = import_ctc(source, out, options, labels=source / "01.labels.csv")
    counts = [summary[key] for key in ("tracks", "divisions", "rows", "frames")]
    assert counts == [714, 356, 3519, 53]
    images = np.stack([tifffile.imread(file) for file in sorted((source / "01").glob("*.tif"))])
    assert np.array_equal(pixels(out)[:, 0], images)

    known = pd.read_csv(source / "01.tracks.csv")
    both = tracks(out).merge(known, on=["track_id", "t"], suffixes=("", "_known"))
    assert len(both) == len(known)
    assert (both["parent_track_id"] == both["parent_track_id_known"]).all()
    # Both tables are rounded to 0.001 pixel.
    for axis in "yx":
        assert (both[axis] - both[f"{axis}_known"]).abs().max() < 0.0015
    mother = tracks(out).set_index("id")["track_id"]
    births = both[(both["parent_track_id"] >= 0) & ~both["track_id"].duplicated()]
    assert (births["parent_id"].map(mother) == births["parent_track_id"]).all()

    labels = pd.read_csv(source / "01.labels.csv").drop(columns="id")
    written = pd.read_csv(out / "annotations.csv")
    assert (written.pop("fov") == "A/1/0").all()
    pd.testing.assert_frame_equal(written, labels)


def drop(path: str):
    return lambda folder: (folder / path).unlink()


def replace_man_track(text: str):
    return lambda folder: (folder / "01_GT/TRA/man_track.txt").write_text(text)


def widen(path: str):
    return lambda folder: tifffile.imwrite(folder / path, np.zeros((21, 24), np.uint8))


@pytest.mark.parametrize(
    ("damage", "messages"),
    [
        (drop("01/t001.tif"), [r"frames \[1\] are missing"]),
        (drop("01/t003.tif"), [r"frames \[3\] have an image or a label mask, but not both"]),
        (drop("01_GT/TRA/man_track.txt"), ["no man_track.txt or res_track.txt"]),
        (widen("01/t002.tif"), [r"t002.tif: has shape \(21, 24\)"]),
        (widen("01_GT/TRA/man_track002.tif"), [r"man_track002.tif: has shape \(21, 24\)"]),
        (replace_man_track("1 0 1\n"), ["four whole numbers"]),
        (replace_man_track("1 0 1 0\n1 0 1 0\n"), ["label 1 is listed twice"]),
        (
            replace_man_track("1 0 1 0\n2 0 2 0\n3 2 3 9\n5 0 1 0\n"),
            [
                "label 4 of the masks has no line",
                "label 5 is in no mask",
                "label 2 is listed for frames 0 to 2, but is seen from 0 to 3",
                "parent 9 of label 3 has no line",
            ],
        ),
    ],
)
def test_damaged_ctc_sets_are_refused_and_leave_nothing(tmp_path, damage, messages):
    write_ctc(tmp_path / "set")
    damage(tmp_path / "set")
    with pytest.raises(UserError) as error:
        import_ctc(tmp_path / "set", tmp_path / "out", OPTIONS)
    for message in messages:
        assert error.match(message)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_three_dimensional_ctc_sets_are_refused(tmp_path):
    write_ctc(tmp_path / "set")
    tifffile.imwrite(tmp_path / "set" / "01" / "t000.tif", np.zeros((5, 20, 24)))
    with pytest.raises(UserError, match="only two-dimensional"):
        import_ctc(tmp_path / "set", tmp_path / "out", OPTIONS)


def test_wrong_options_are_refused_before_any_work(tmp_path):
    write_ctc(tmp_path / "set")
    with pytest.raises(UserError, match="interval_minutes"):
        import_ctc(tmp_path / "set", tmp_path / "out", ImportOptions(interval_minutes=-1))
    with pytest.raises(UserError, match="microscpe: unknown key"):
        import_ctc(
            tmp_path / "set",
            tmp_path / "out",
            ImportOptions(interval_minutes=1, extra={"microscpe": "x"}),
        )


def test_an_entry_that_does_not_fit_its_plate_is_refused_and_leaves_nothing(tmp_path):
    write_ctc(tmp_path / "set")
    options = ImportOptions(interval_minutes=1, extra={"exclude_fovs": ["A/1/7"]})
    with pytest.raises(UserError, match=r"exclude_fovs: .* has no field of view 'A/1/7'"):
        import_ctc(tmp_path / "set", tmp_path / "out", options)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_labels_of_another_movie_are_refused(tmp_path):
    write_ctc(tmp_path / "set")
    labels = tmp_path / "labels.csv"
    labels.write_text("track_id,t,mitotic\n77,0,1\n")
    with pytest.raises(UserError, match="none of its rows is of an observation"):
        import_ctc(tmp_path / "set", tmp_path / "out", OPTIONS, labels=labels)
    labels.write_text("track,t,mitotic\n1,0,1\n")
    with pytest.raises(UserError, match="has no column track_id"):
        import_ctc(tmp_path / "set", tmp_path / "out", OPTIONS, labels=labels)


def test_an_existing_folder_is_never_replaced(tmp_path):
    write_ctc(tmp_path / "set")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("mine")
    with pytest.raises(UserError, match="exists already"):
        import_ctc(tmp_path / "set", tmp_path / "out", OPTIONS)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["precious"]
