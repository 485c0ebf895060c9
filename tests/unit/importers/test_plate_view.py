"""Images without a plate become one by links, in either version of NGFF."""

import os
import shutil

import numpy as np
import pytest
from iohub.ngff import open_ome_zarr
from tests.unit.io.written_plates import entry_of, pixels, write_group, write_image

from dynaclr.config import UserError
from dynaclr.importers.plate_view import make_plate_view
from dynaclr.index.build import index_experiment
from dynaclr.io import Plate


def write_series(path, zarr_format=2):
    write_group(path, {"bioformats2raw.layout": 3}, zarr_format)
    write_group(path / "OME", {"series": ["0", "1", "2"]}, zarr_format)
    for number in range(3):
        write_image(path / str(number), pixels() + np.uint16(number), zarr_format=zarr_format)
    return path


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_series_become_fields_of_view(tmp_path, zarr_format):
    raw = write_series(tmp_path / "raw.zarr", zarr_format)
    wells = {"A/1": ["0", "2"], "B/1": ["1"]}
    make_plate_view(raw, tmp_path / "moved/plate.zarr", wells)
    (tmp_path / "moved/plate.zarr").rename(tmp_path / "moved/plate")
    # Links are relative, so that both can be moved together.
    shutil.copytree(tmp_path, tmp_path.with_name(tmp_path.name + "-copy"), symlinks=True)
    copy = tmp_path.with_name(tmp_path.name + "-copy") / "moved/plate"
    assert os.path.realpath(copy / "B/1/1").startswith(os.path.realpath(copy.parents[1]))
    assert list(Plate(copy).positions) == ["A/1/0", "A/1/2", "B/1/1"]
    with open_ome_zarr(copy) as plate:
        assert np.array_equal(plate["B/1/1"]["0"][:], pixels() + 1)


def test_a_folder_of_images_and_one_image(tmp_path):
    for name in ("b.ome.zarr", "a.zarr"):
        write_image(tmp_path / "images" / name, pixels())
    (tmp_path / "images/notes.txt").write_text("")
    assert list(make_plate_view(tmp_path / "images", tmp_path / "plate.zarr").positions) == [
        "A/1/a",
        "A/1/b",
    ]
    one = make_plate_view(tmp_path / "images/a.zarr", tmp_path / "one.zarr", {"A/1": ["0"]})
    assert list(one.positions) == ["A/1/0"]
    (tmp_path / "plate.zarr").rename(tmp_path / "other.zarr")
    (tmp_path / "one.zarr").rename(tmp_path / "plate.zarr")
    assert index_experiment(entry_of(tmp_path))[0].num_rows == 8


def test_what_cannot_be_made(tmp_path):
    raw = write_series(tmp_path / "raw.zarr")
    out = tmp_path / "plate.zarr"
    wrong = {"A/1": ["0", "7", "0"], "B": ["1"]}
    with pytest.raises(UserError, match=r"listed twice(.|\n)*no image '7'(.|\n)*'B' is no well"):
        make_plate_view(raw, out, wrong)
    for images in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(UserError, match="holds no OME-Zarr image"):
            make_plate_view(images, out)
    assert not out.exists()
    make_plate_view(raw, out)
    with pytest.raises(UserError, match="exists already"):
        make_plate_view(raw, out)
    with pytest.raises(UserError, match="is a plate already"):
        make_plate_view(out, tmp_path / "again.zarr")


@pytest.mark.parametrize("path", ["raw.zarr", "raw.zarr/0"])
def test_where_a_plate_is_needed_the_command_is_named(tmp_path, path):
    write_series(tmp_path / "raw.zarr")
    with pytest.raises(UserError, match="`dynaclr import ome-zarr --images"):
        Plate(tmp_path / path)
