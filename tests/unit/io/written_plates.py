"""Small plates as other programs write them: zarr for the pixels, JSON for the metadata."""

import json
from pathlib import Path

import numpy as np
import zarr

from dynaclr.config import ExperimentConfig

_KINDS = {"t": "time", "c": "channel"}


def pixels(shape=(4, 1, 1, 24, 20), dtype="uint16") -> np.ndarray:
    return np.random.default_rng(0).integers(1, 200, shape).astype(dtype)


def axes_of(names: str, unit: str | None = "micrometer") -> list[dict]:
    units = {} if unit is None else {"unit": unit}
    return [
        {"name": name, "type": _KINDS.get(name, "space"), **(units if name in "zyx" else {})}
        for name in names
    ]


def write_group(path: Path, attributes: dict, zarr_format: int = 2) -> None:
    path.mkdir(parents=True, exist_ok=True)
    if zarr_format == 2:
        (path / ".zgroup").write_text('{"zarr_format": 2}')
        (path / ".zattrs").write_text(json.dumps(attributes))
    else:
        document = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": attributes}}
        (path / "zarr.json").write_text(json.dumps(document))


def write_image(
    path: Path, data, names="tczyx", labels=("GFP",), unit="micrometer", zarr_format=2, **array
) -> None:
    scale = [{"type": "scale", "scale": [0.5 if n in "yx" else 1.0 for n in names]}]
    datasets = [{"path": "0", "coordinateTransformations": scale}]
    attributes = {"multiscales": [{"axes": axes_of(names, unit), "datasets": datasets}]}
    if labels is not None:
        attributes["omero"] = {"channels": [{"label": label} for label in labels]}
    write_group(path, attributes, zarr_format)
    chunks = (*(1,) * (data.ndim - 2), 16, 16)
    options = {"chunks": chunks, "config": {"write_empty_chunks": True}, **array}
    stored = zarr.create_array(
        path / "0", shape=data.shape, dtype=data.dtype, zarr_format=zarr_format, **options
    )
    stored[...] = data


def write_plate(path: Path, data, fovs=("A/1/0",), zarr_format=2, **image) -> Path:
    wells = {fov.rsplit("/", 1)[0]: [] for fov in fovs}
    for fov in fovs:
        wells[fov.rsplit("/", 1)[0]].append({"path": fov.rsplit("/", 1)[1]})
        write_image(path / fov, data, zarr_format=zarr_format, **image)
    write_group(path, {"plate": {"wells": [{"path": well} for well in wells]}}, zarr_format)
    for well, images in wells.items():
        write_group(path / well, {"well": {"images": images}}, zarr_format)
    return path


def edit(file: Path, change) -> None:
    """Change a JSON document on disk in place."""
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))


def entry_of(folder: Path, **keys) -> ExperimentConfig:
    """Entry of ``plate.zarr`` in a folder, with two tracks a field of view."""
    table = "track_id,t,y,x\n" + "".join(f"{i},{t},12,10\n" for i in (1, 2) for t in range(4))
    tracks = folder / "tracks/A/1/0"
    tracks.mkdir(parents=True, exist_ok=True)
    (tracks / "tracks.csv").write_text(table)
    content = {
        "name": "e",
        "data_path": folder / "plate.zarr",
        "tracks_path": folder / "tracks",
        "channels": [{"name": "GFP", "marker": "gfp"}],
        "condition_wells": {"mock": ["A/1"]},
        "interval_minutes": 30,
        "start_hpi": 0,
    }
    return ExperimentConfig.model_validate(content | keys)
