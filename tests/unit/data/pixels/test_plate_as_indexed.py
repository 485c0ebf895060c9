"""Pixels are read only of plates that are as they were when they were indexed."""

import pytest
from tests.unit.io.written_plates import entry_of, pixels, write_plate

from dynaclr.config import ExperimentRegistry, UserError
from dynaclr.data.pixels.patch_geometry import FieldsOfView
from dynaclr.index import MultiExperimentIndex
from dynaclr.index.build import build_index
from dynaclr.index.merge import merge_indexes


@pytest.fixture
def entry(tmp_path):
    write_plate(tmp_path / "plate.zarr", pixels())
    return entry_of(tmp_path)


@pytest.fixture(params=["built", "merged", "in memory"])
def index(request, tmp_path, entry):
    build_index(entry, tmp_path / "e")
    if request.param == "in memory":
        return MultiExperimentIndex.from_registry(ExperimentRegistry([entry]))
    if request.param == "merged":
        write_plate(tmp_path / "other/plate.zarr", pixels((5, 1, 1, 24, 20)))
        other = entry_of(tmp_path / "other", name="other")
        build_index(other, tmp_path / "o")
        merge_indexes([tmp_path / "e", tmp_path / "o"], tmp_path / "m", ["e"], ["other"])
        return MultiExperimentIndex.from_merged(tmp_path / "m")
    return MultiExperimentIndex.from_parquet([tmp_path / "e"])


def registry_of(tmp_path, entry):
    return {"e": entry, "other": entry_of(tmp_path / "other", name="other")}


def test_shapes_are_those_of_the_plates(tmp_path, entry, index):
    assert index.plate_shapes["e", "A/1/0"] == (4, 1, 1, 24, 20)
    assert index.image_shapes["e", "A/1/0"] == (24, 20)
    fields = FieldsOfView(index, registry_of(tmp_path, entry))
    assert [position.shape[0] for position in fields.positions] in ([4], [4, 5])


def test_another_shape_is_refused(tmp_path, entry, index):
    (tmp_path / "plate.zarr").rename(tmp_path / "old.zarr")
    write_plate(tmp_path / "plate.zarr", pixels((3, 1, 1, 24, 20)))
    with pytest.raises(UserError, match=r"had 4 x 1 x 1 x 24 x 20 .* now has 3 x 1 x 1 x 24 x 20"):
        FieldsOfView(index, registry_of(tmp_path, entry))


def test_a_field_that_is_gone_is_refused(tmp_path, entry, index):
    (tmp_path / "plate.zarr").rename(tmp_path / "old.zarr")
    write_plate(tmp_path / "plate.zarr", pixels(), ["A/1/7"])
    with pytest.raises(UserError, match=r"A/1/0 is not used or not there any more\. Run"):
        FieldsOfView(index, registry_of(tmp_path, entry))
