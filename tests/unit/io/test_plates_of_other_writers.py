"""Plates in the many forms that NGFF and Zarr permit are read as those of our own writer."""

import shutil

import numpy as np
import pytest
from tests.unit.io.written_plates import axes_of, edit, entry_of, pixels, write_plate

from dynaclr.config import UserError
from dynaclr.config.errors import Problems
from dynaclr.data.pixels.patch_reader import PatchReader
from dynaclr.data.pixels.patch_source import PatchSource
from dynaclr.data.statistics.compute import statistics_table
from dynaclr.index.build import index_experiment
from dynaclr.io import Plate
from dynaclr.io.disk_checks import check_on_disk
from dynaclr.io.length_units import micrometres_of


def read_all(position) -> np.ndarray:
    """Every pixel of a field of view, (T, C, Z, Y, X), as patches of the size of the image."""
    t, c, z, y, x = position.shape
    source = PatchSource(position, tuple(range(c)), (y, x))
    zero = np.zeros(t, np.int64)
    middle = np.full(t, y / 2), np.full(t, x / 2)
    return PatchReader([source], z, dtype="native").read(zero, np.arange(t), *middle)


@pytest.mark.parametrize(
    ("names", "where"),
    [
        ("tczyx", np.s_[:, :, :]),
        ("tcyx", np.s_[:, :, 0]),
        ("tzyx", np.s_[:, 0, :]),
        ("tyx", np.s_[:, 0, 0]),
        ("czyx", np.s_[0, :, :]),
        ("yx", np.s_[0, 0, 0]),
    ],
)
@pytest.mark.parametrize("options", [{"order": "F"}, {"shards": (16, 16)}])
def test_absent_axes_count_as_one(tmp_path, names, where, options):
    data = pixels()[where]
    if "shards" in options:
        lead = (1,) * (data.ndim - 2)
        options = {"zarr_format": 3, "shards": (*lead, 16, 16), "chunks": (*lead, 8, 8)}
    path = write_plate(tmp_path / "plate.zarr", data, names=names, **options)
    position = Plate(path).positions["A/1/0"]
    expected = data.reshape([4 if "t" in names else 1, 1, 1, 24, 20])
    assert position.shape == expected.shape
    np.testing.assert_array_equal(read_all(position), expected)


def test_axes_in_another_order(tmp_path):
    data = pixels((3, 2, 1, 24, 20))
    options = {"names": "ctzyx", "labels": ["a", "b"]}
    path = write_plate(tmp_path / "plate.zarr", np.moveaxis(data, 0, 1), **options)
    np.testing.assert_array_equal(read_all(Plate(path).positions["A/1/0"]), data)


@pytest.mark.parametrize("dtype", ["u1", ">u2", "i2", "f2", ">f4", "f8", "bool", "i4"])
def test_types_of_pixels(tmp_path, dtype):
    data = pixels(dtype="u1").astype(dtype)
    position = Plate(write_plate(tmp_path / "plate.zarr", data)).positions["A/1/0"]
    np.testing.assert_array_equal(read_all(position), data)


@pytest.mark.parametrize(
    ("unit", "size"),
    [
        ("nanometer", 0.0005),
        ("millimeter", 500),
        ("Micrometers", 0.5),
        ("\u00b5m", 0.5),
        ("inch", 12700),
    ],
)
def test_units_are_converted(tmp_path, unit, size):
    path = write_plate(tmp_path / "plate.zarr", pixels(), unit=unit)
    position = Plate(path).positions["A/1/0"]
    assert position.pixel_size_um == pytest.approx(size)
    assert not position.size_unknown


def test_units_of_length():
    assert micrometres_of("metre") == 1e6
    assert micrometres_of("angstrom") == 1e-4
    assert micrometres_of("second") is None


@pytest.mark.parametrize(("unit", "said"), [(None, "without a unit"), ("pixel", "in 'pixel'")])
def test_a_size_that_is_not_known_is_said(tmp_path, caplog, unit, said):
    write_plate(tmp_path / "plate.zarr", pixels(), unit=unit)
    index_experiment(entry_of(tmp_path))
    assert said in caplog.text
    assert "Say `pixel_size_um`" in caplog.text
    caplog.clear()
    index_experiment(entry_of(tmp_path, pixel_size_um=0.3))
    assert not caplog.text


def test_metadata_of_other_versions(tmp_path):
    path = write_plate(tmp_path / "plate.zarr", pixels())
    expected = Plate(path).positions["A/1/0"]
    image = path / "A/1/0/.zattrs"

    def changed(change):
        edit(image, lambda document: change(document["multiscales"][0]))
        return Plate(path).positions["A/1/0"]

    # Scale of the whole image, a translation, and names by type.
    scale = {"type": "scale", "scale": [1, 1, 1, 0.5, 0.5]}
    moved = {"type": "translation", "translation": [0, 0, 0, 5, 5]}
    found = changed(
        lambda one: (
            one.update(coordinateTransformations=[scale]),
            one["datasets"][0].update(coordinateTransformations=[moved]),
            one["axes"][0].update(name="Time"),
        )
    )
    assert found.levels == expected.levels
    assert found.shape == expected.shape
    # NGFF 0.3 has names alone, NGFF 0.1 no axes.
    assert changed(lambda one: one.update(axes=list("tczyx"))).shape == expected.shape
    assert changed(lambda one: one.pop("axes")).shape == expected.shape


def test_short_names_of_zarr_3(tmp_path):
    data = pixels(dtype="u1")
    path = write_plate(tmp_path / "plate.zarr", data, zarr_format=3, compressors=None)
    short = {"codecs": ["bytes"], "chunk_key_encoding": "default"}
    edit(path / "A/1/0/0/zarr.json", lambda document: document.update(short))
    np.testing.assert_array_equal(read_all(Plate(path).positions["A/1/0"]), data)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: d.update(codecs=["bytes", "jpegxl"]), "codec 'jpegxl' is not supported"),
        (lambda d: d.update(chunk_key_encoding="fanout"), "encoding 'fanout' is not supported"),
        (lambda d: d.update(chunk_grid={"name": "rectilinear"}), "grid 'rectilinear'"),
        (lambda d: d.update(data_type="bfloat16"), "pixels of type 'bfloat16'"),
        (lambda d: d.update(fill_value="0x7fc00000000000000"), "malformed"),
        (lambda d: d["chunk_grid"]["configuration"].update(chunk_shape=[8, 8]), "5 axes for an"),
    ],
)
def test_what_zarr_3_may_say_and_cannot_be_read(tmp_path, change, reason):
    path = write_plate(tmp_path / "plate.zarr", pixels(dtype="f4"), zarr_format=3)
    edit(path / "A/1/0/0/zarr.json", change)
    with pytest.raises(UserError, match=f"field of view A/1/0 cannot be used: .*{reason}"):
        _ = Plate(path).positions


def test_a_level_several_folders_deep(tmp_path):
    path = write_plate(tmp_path / "plate.zarr", pixels())
    image = path / "A/1/0"
    (image / "resolutions").mkdir()
    (image / "0").rename(image / "resolutions/0")
    edit(
        image / ".zattrs",
        lambda document: document["multiscales"][0]["datasets"][0].update(path="resolutions/0"),
    )
    np.testing.assert_array_equal(read_all(Plate(path).positions["A/1/0"]), pixels())
    next(file for file in (image / "resolutions/0").rglob("2*") if file.is_file()).unlink()
    with pytest.raises(UserError, match="frame 2 of field of view A/1/0, channel GFP"):
        statistics_table(entry_of(tmp_path))


def test_fill_value_by_its_bits(tmp_path):
    path = write_plate(tmp_path / "plate.zarr", pixels(dtype="f4"), zarr_format=3)
    for bits, value in {"0x7fc00000": np.nan, "0x3f800000": 1.0}.items():
        edit(path / "A/1/0/0/zarr.json", lambda document, b=bits: document.update(fill_value=b))
        np.testing.assert_equal(Plate(path).positions["A/1/0"].layout().fill, value)


@pytest.mark.parametrize(
    ("name", "fix"),
    [("GFP", "Choose by number: `name: 0` or `name: 2`"), ("RFP", "Known: GFP, Phase, GFP")],
)
def test_channels_that_are_not_one(tmp_path, name, fix):
    data = pixels((4, 3, 1, 24, 20))
    write_plate(tmp_path / "plate.zarr", data, labels=["GFP", "Phase", "GFP"])
    entry, problems = entry_of(tmp_path, channels=[{"name": name, "marker": "m"}]), Problems()
    check_on_disk(entry, "e", problems)
    (message,) = problems.found
    assert fix in message
    assert "in A/1/0 of" in message
    with pytest.raises(UserError, match=r"field of view A/1/0: .*channel"):
        statistics_table(entry)


@pytest.mark.parametrize("labels", [None, ["GFP", "Phase", "one more"], ["GFP"], [None, ""]])
def test_channels_without_names_go_by_number(tmp_path, labels):
    data = pixels((4, 2, 1, 24, 20))
    path = write_plate(tmp_path / "plate.zarr", data, labels=labels)
    entry = entry_of(tmp_path, channels=[{"name": 1, "marker": "m"}])
    index_experiment(entry)
    means = statistics_table(entry).query("level == 'fov'")["mean"]
    assert means.tolist() == [pytest.approx(data[:, 1].mean())]
    with pytest.raises(UserError, match=r"no channel 'RFP'"):
        Plate(path).positions["A/1/0"].channel_number("RFP")


def test_a_name_goes_before_a_number(tmp_path):
    path = write_plate(tmp_path / "p", pixels((2, 2, 1, 24, 20)), labels=["1", "0"])
    position = Plate(path).positions["A/1/0"]
    assert [position.channel_number(name) for name in ("0", "1")] == [1, 0]


def test_labels_that_do_not_fit_are_said(tmp_path):
    write_plate(tmp_path / "plate.zarr", pixels(), labels=["Phase", "GFP"])
    with pytest.raises(UserError, match=r"names 2 channels, the array has 1\. Choose by number"):
        index_experiment(entry_of(tmp_path))


BROKEN = {
    "field": lambda plate: shutil.rmtree(plate / "A/1/1/0"),
    "absent": lambda plate: shutil.rmtree(plate / "A/1/1"),
    "document": lambda plate: (plate / "A/1/1/.zattrs").write_bytes(b"\xff"),
    "nested": lambda plate: (plate / "A/1/1/.zattrs").write_text("[" * 100_000),
    "well": lambda plate: (plate / "B/2/.zattrs").write_text("{"),
    "group": lambda plate: shutil.rmtree(plate / "B"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_not_used_is_not_read(tmp_path, what):
    path = write_plate(tmp_path / "plate.zarr", pixels(), ["A/1/0", "A/1/1", "B/2/0"])
    BROKEN[what](path)
    entry = entry_of(tmp_path, exclude_fovs=["A/1/1"])
    _, summary = index_experiment(entry)
    assert list(summary["plate"]["image_shapes"]) == ["A/1/0"]
    assert len(statistics_table(entry).query("level == 'fov'")) == 1
    used = {"mock": ["A/1", "B/2"]}
    with pytest.raises(UserError, match=r"exclude_fovs|condition_wells"):
        index_experiment(entry_of(tmp_path, condition_wells=used))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: d.update(compressor={"id": "jpegxl"}), "jpegxl"),
        (lambda d: d.update(dtype="|O"), "pixels of type '|O'"),
        (lambda d: d.update(chunks=[0, 1, 1, 16, 16]), "chunk of"),
        (lambda d: d.update(shape=[4, 1, 24, 20]), "name 5 axes for an array"),
        (lambda d: d.pop("chunks"), "'chunks' is not in its metadata"),
        (lambda d: d.update(order="B"), "order of pixels 'B'"),
        (lambda d: d.update(dimension_separator={}), "separator {}"),
        (lambda d: d.update(zarr_format=[]), "Zarr format '[]'"),
    ],
)
def test_arrays_that_cannot_be_read(tmp_path, change, reason):
    path = write_plate(tmp_path / "plate.zarr", pixels())
    edit(path / "A/1/0/0/.zarray", change)
    with pytest.raises(UserError) as error:
        index_experiment(entry_of(tmp_path))
    assert "field of view A/1/0 cannot be used" in str(error.value)
    assert reason in str(error.value)


@pytest.mark.parametrize(
    "axes", [axes_of("tcyq"), axes_of("tcyyx"), [1, 2, 3, 4, 5], axes_of("tczy"), None]
)
def test_axes_that_cannot_be_read(tmp_path, axes):
    path = write_plate(tmp_path / "plate.zarr", pixels())
    edit(path / "A/1/0/.zattrs", lambda document: document["multiscales"][0].update(axes=axes))
    with pytest.raises(UserError, match="A/1/0 cannot be used"):
        _ = Plate(path).positions
