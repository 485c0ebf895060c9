"""Plate metadata of both NGFF versions equals what iohub reads."""

import pytest
from iohub.ngff import open_ome_zarr
from tests.unit.config.conftest import write_experiment

from dynaclr.config import UserError
from dynaclr.io import Plate


@pytest.fixture(autouse=True)
def plates(tmp_path):
    write_experiment(tmp_path, "one")
    write_experiment(tmp_path, "two", "0.5")


@pytest.mark.parametrize("name", ["one", "two"], ids=["ngff-0.4", "ngff-0.5"])
def test_metadata_equals_iohub(tmp_path, name):
    plate = Plate(tmp_path / f"{name}.zarr")
    with open_ome_zarr(plate.path, mode="r") as reference:
        positions = dict(reference.positions())
        assert sorted(plate.positions) == sorted(positions)
        for fov, position in plate.positions.items():
            assert list(position.channels) == positions[fov].channel_names
            assert position.shape == positions[fov]["0"].shape
            assert list(position.levels[0].scale) == positions[fov].scale
    assert plate.wells == ["A/1", "B/1"]
    assert plate.channels == ["Phase3D", "GFP"]
    assert plate.positions["B/1/0"].well == "B/1"
    assert plate.positions["B/1/0"].pixel_size_um == 0.5
    assert plate.positions["B/1/0"].zarr_format == (2 if name == "one" else 3)


def test_digest_is_of_content_not_of_path(tmp_path):
    before = Plate(tmp_path / "one.zarr").digest()
    (tmp_path / "one.zarr").rename(tmp_path / "moved.zarr")
    assert Plate(tmp_path / "moved.zarr").digest() == before


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: (p / ".zattrs").write_text("{"), "damaged metadata"),
        (lambda p: (p / ".zattrs").write_text("{}"), "no OME-Zarr plate"),
        (
            lambda p: (p / "A/1/.zattrs").unlink(),
            "well A/1 is listed but .* out of `condition_wells`",
        ),
        (
            lambda p: (p / "A/1/0/.zattrs").write_text("{}"),
            "'multiscales' is not in .* `exclude_fovs`",
        ),
        (
            lambda p: (p / "A/1/0/0/.zarray").unlink(),
            "no Zarr array.* `exclude_fovs`",
        ),
    ],
)
def test_damaged_metadata_are_an_error(tmp_path, damage, message):
    damage(tmp_path / "one.zarr")
    with pytest.raises(UserError, match=message):
        Plate(tmp_path / "one.zarr").digest()
