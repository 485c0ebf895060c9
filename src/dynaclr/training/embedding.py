"""Embedding of all cells of one experiment."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import torch
import yaml
import zarr
from numpy.typing import NDArray
from torch import Tensor, nn

from dynaclr.data import (
    CellReader,
    NormalizationConfig,
    PatchConfig,
    at_common_size,
    read_statistics,
)
from dynaclr.data.chunks import map_ahead
from dynaclr.experiments import ExperimentConfig, UserError
from dynaclr.experiments.files import atomic_path, read_json, read_seal, seal
from dynaclr.experiments.fingerprint import verified_digest
from dynaclr.index import MultiExperimentIndex
from dynaclr.models import IntensityFeatures, PixelComponents
from dynaclr.training.hardware import refuse_lost_gpus
from dynaclr.transforms import Normalize

if TYPE_CHECKING:
    from dynaclr.data import MultiExperimentDataModule
    from dynaclr.training.cli import TrainingCLI

log = logging.getLogger(__name__)

# Rows of a store that are held in memory before they are written together: chunks of the store
# hold thousands of rows, and each write compresses anew those that it touches.
_BLOCK = 4096
# Most bytes of a batch as it is read; normalizing and encoding it takes several times as much.
_BATCH_BYTES = 30 << 20
# Batches that are read at a time: threads share out their chunks, and of few chunks all but one
# thread wait for the last.
_READ_TOGETHER = 4


def embed(
    model_dirs: Sequence[Path],
    experiment_dir: Path,
    out_dir: Path,
    untrained: bool = False,
    batch_size: int = 256,
    threads: int = 2,
    device: str = "auto",
) -> None:
    """Embed every observation of an experiment by each seed of a model, reading it once for all.

    Parameters
    ----------
    model_dirs : sequence of Path
        Folders of trainings that cut the same patches (``config.yaml``, ``best.ckpt``): the seeds
        of a model.
    experiment_dir : Path
        Folder of an experiment's results (``cells.parquet``, ``summary.json``, statistics).
    out_dir : Path
        Gets an AnnData zarr store for each training, ``<its folder's name>/<experiment>.zarr``:
        ``X`` features float32, ``obsm["X_projections"]``, ``obs`` the index columns,
        ``uns["dynaclr"]`` the provenance as JSON text.
    untrained : bool
        Write a second store of each, ``<its folder's name>-untrained/<experiment>.zarr``, by the
        same encoder with the weights that its training started from: what training must add to.
    batch_size : int
        Most patches of a batch; does not change the result beyond rounding.
    threads : int
        CPU threads of torch.
    device : str
        Torch device; ``auto`` takes a GPU when there is one.

    Raises
    ------
    UserError
        When checkpoint, index or statistics are missing, or are not those that were written, when
        the trainings cut their patches in different ways or their folders have the same name, or
        when torch cannot use the GPU that this job was given.
    """
    _check_names(model_dirs)
    torch.set_num_threads(threads)
    if device == "auto":
        refuse_lost_gpus()
        device = "cuda" if torch.cuda.is_available() else "cpu"
    encoders: dict[Path, nn.Module] = {}
    facts: dict[Path, dict[str, Any]] = {}
    cut: dict[Path, MultiExperimentDataModule] = {}
    for model_dir in model_dirs:
        cli = _build_from(model_dir)
        cut[model_dir] = cli.datamodule
        config = {"config": yaml.safe_load(cli.resolved())}
        file = f"{experiment_dir.name}.zarr"
        out = out_dir / model_dir.name / file
        encoders[out] = _trained(cli, model_dir)
        checkpoint = read_seal(model_dir / "best.ckpt")
        facts[out] = {"variant": "trained", "checkpoint": checkpoint} | config
        if untrained:
            out = out_dir / f"{model_dir.name}-untrained" / file
            encoders[out] = cli.model.encoder
            facts[out] = {"variant": "untrained", "checkpoint": None} | config
    data = _that_all_share(cut)
    write_embeddings(encoders, facts, data, experiment_dir, batch_size, torch.device(device))


def _check_names(model_dirs: Sequence[Path]) -> None:
    """Stores are named after the folders of trainings: these must differ."""
    names = [model_dir.name for model_dir in model_dirs]
    if not names or len({*names, *(f"{name}-untrained" for name in names)}) < 2 * len(names):
        given = ", ".join(map(str, model_dirs)) or "none"
        raise UserError(
            f"models: {given}. Name one training, or several whose folders have different names; "
            "embed with others in a call of their own."
        )


def _that_all_share(cut: dict[Path, MultiExperimentDataModule]) -> MultiExperimentDataModule:
    """The data of the first of some trainings, if the others cut and normalize patches alike."""
    (first, data), *others = cut.items()
    for model_dir, other in others:
        if (other.patches, other.normalization) != (data.patches, data.normalization):
            raise UserError(
                f"{model_dir}: cuts or normalizes patches otherwise than {first}. Embed with each "
                "in a call of its own."
            )
    return data


def write_embeddings(
    encoders: dict[Path, nn.Module],
    facts: dict[Path, dict[str, Any]],
    data: MultiExperimentDataModule,
    experiment_dir: Path,
    batch_size: int,
    device: torch.device,
) -> None:
    """Embed every observation of an experiment with encoders, each for a store of its own.

    Parameters
    ----------
    encoders : dict of Path to nn.Module
        By the store to write; in the order in which they embed.
    facts : dict of Path to dict
        Provenance of each store, beside the digests of the experiment's tables.
    data : MultiExperimentDataModule
        Patches and normalization of the training.
    experiment_dir, batch_size, device
        As in `embed`.

    Raises
    ------
    UserError
        When index or statistics are missing, or are not those that were written.
    """
    cells = Cells(experiment_dir, data.patches, data.normalization)
    _embed_into(encoders, facts, cells, batch_size, device)


def fit_pixels(
    patches: PatchConfig,
    normalization: NormalizationConfig,
    experiment_dirs: Sequence[Path],
    out: Path,
    n_components: int = 32,
    max_patches: int = 2000,
    seed: int = 0,
) -> None:
    """Fit principal components of pixels on the patches of training experiments.

    Parameters
    ----------
    patches, normalization : PatchConfig, NormalizationConfig
        Those of the model that the baseline is held against.
    experiment_dirs : sequence of Path
        Folders of the training experiments' results; each gives as many patches.
    out : Path
        ``.npz`` file to write: ``mean`` and ``components``; its digest beside it.
    n_components : int
    max_patches : int
        Of all experiments together.
    seed : int
        Chooses the patches.

    Raises
    ------
    UserError
        As for `embed_baselines`, and when no patch can be read.
    """
    rng, parts, normalize = np.random.default_rng(seed), [], Normalize()
    for directory in experiment_dirs:
        cells = Cells(directory, patches, normalization)
        chosen = rng.permutation(len(cells))[: max(1, max_patches // len(experiment_dirs))]
        batch = cells.read(np.sort(chosen))
        x_BCZYX = normalize(at_common_size(batch), batch["center"], batch["spread"])
        parts.append(x_BCZYX[~batch["lost"]])
    known = torch.cat(parts)
    if not len(known):
        names = ", ".join(Path(directory).name for directory in experiment_dirs)
        raise UserError(f"{names}: no chosen patch can be read. Copy the plates again.")
    fitted = PixelComponents.fit(known, n_components, seed)
    with atomic_path(out) as temporary:
        np.savez(temporary, mean=fitted.mean.numpy(), components=fitted.components.numpy())
    seal(out)


def embed_baselines(
    patches: PatchConfig,
    normalization: NormalizationConfig,
    experiment_dir: Path,
    out: Path,
    pixels: Path | None = None,
    pixels_out: Path | None = None,
    batch_size: int = 256,
) -> None:
    """Write baselines without a network in the form of embeddings.

    They are intensity statistics of every observation's patch (`dynaclr.models.IntensityFeatures`)
    and, where they were fitted, principal components of its pixels. The patches are read once.

    Parameters
    ----------
    patches, normalization : PatchConfig, NormalizationConfig
        Those of the model that they are held against.
    experiment_dir, out, batch_size
        As in `embed`; `out` gets the intensity statistics.
    pixels, pixels_out : Path, optional
        Components that `fit_pixels` wrote, and the store for the coordinates on them.

    Raises
    ------
    UserError
        When index, statistics or components are missing, or are not those that were written.
    """
    cells = Cells(experiment_dir, patches, normalization)
    encoders: dict[Path, nn.Module] = {out: IntensityFeatures()}
    facts: dict[Path, dict[str, Any]] = {out: {"variant": "intensity", "checkpoint": None}}
    if pixels is not None and pixels_out is not None:
        facts[pixels_out] = {"variant": "pixels", "checkpoint": verified_digest(pixels)}
        with np.load(pixels, allow_pickle=False) as stored:
            arrays = (torch.from_numpy(stored[name]) for name in ("mean", "components"))
            encoders[pixels_out] = PixelComponents(*arrays)
    config = {"config": {"patches": asdict(patches), "normalization": asdict(normalization)}}
    facts = {path: own | config for path, own in facts.items()}
    _embed_into(encoders, facts, cells, batch_size, torch.device("cpu"))


class Cells:
    """An experiment's observations, their patches, and the digests that say which ones."""

    def __init__(
        self,
        experiment_dir: Path,
        patches: PatchConfig,
        normalization: NormalizationConfig,
    ) -> None:
        self.digests = {
            name: verified_digest(experiment_dir / f"{name}.parquet")
            for name in ("cells", "statistics")
        }
        self.index = MultiExperimentIndex.from_parquet([experiment_dir])
        entry = ExperimentConfig.model_validate(read_json(experiment_dir / "summary.json")["entry"])
        self.entry, self.name = entry, entry.name
        statistics = read_statistics(experiment_dir.parent, [entry.name])
        self.reader = CellReader(
            self.index,
            {entry.name: entry},
            statistics,
            patches,
            normalization,
            cache_bytes=0,
            stores=experiment_dir.parent,
        )
        self.reader.prepare_for_pass()
        self.rows, self.markers = np.arange(len(self.index)), None
        if patches.bag_of_channels:
            pairs = self.reader.marker_pairs(self.rows)
            self.rows, self.markers = pairs[np.arange(len(pairs))]

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, places: slice | NDArray[np.int64]) -> dict[str, Tensor]:
        """Patches at some places among all of them; ``lost`` (B,) tells which cannot be read.

        Raises
        ------
        UserError
            When one cannot be read and the experiment's entry does not say ``unreadable: skip``.
        """
        markers = None if self.markers is None else self.markers[places]
        rows = self.rows[places]
        lost = np.zeros(len(rows), bool)
        skip = self.entry.unreadable == "skip"
        batch = self.reader.read(rows, markers, lost if skip else None)
        return batch | {"lost": torch.from_numpy(lost)}

    def batches(self, size: int) -> Iterator[dict[str, Tensor]]:
        """All patches, field of view by field of view and frame by frame, as the index has them.

        The next ones are read while one batch is worked on. Batches are of `size` patches, of large
        ones fewer.
        """
        size = min(size, max(1, _BATCH_BYTES // self.reader.patch_bytes))
        at_once = size * _READ_TOGETHER
        places = (slice(start, start + at_once) for start in range(0, len(self), at_once))
        with ThreadPoolExecutor(1) as pool:
            for several in map_ahead(pool, self.read, places, 2):
                for start in range(0, len(several["patch"]), size):
                    yield {name: x[start : start + size] for name, x in several.items()}

    def observations(self) -> pd.DataFrame:
        """Columns of the index, one row a patch, under names that differ."""
        obs = self.index.tracks.iloc[self.rows].reset_index(drop=True)
        parts = ["fov", "track_id", "t"]
        if self.markers is not None:
            markers = self.reader.patches.markers
            obs["marker"] = pd.Categorical.from_codes(self.markers, markers)
            parts.append("marker")
        names = zip(*(obs[part].astype(str) for part in parts), strict=True)
        obs.index = ["/".join(name) for name in names]
        return obs


def _build_from(model_dir: Path) -> TrainingCLI:
    # Lightning takes seconds to import, and baselines need none of it.
    from dynaclr.training.cli import build

    path = model_dir / "config.yaml"
    if not path.is_file():
        raise UserError(f"{path}: no such file. Train the model first.")
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    # The trainer belongs to the training, which may have run on other hardware.
    content["trainer"] = {"logger": False, "accelerator": "cpu"}
    return build(content, str(path))


def _trained(cli: TrainingCLI, model_dir: Path) -> nn.Module:
    """Encoder with the weights of the epoch that was kept."""
    verified_digest(model_dir / "best.ckpt")
    whole = torch.load(model_dir / "best.ckpt", map_location="cpu", weights_only=True)
    model = copy.deepcopy(cli.model)
    model.load_state_dict(whole["state_dict"])
    return model.encoder


class _Store:
    """An embedding store that is filled row by row; memory does not grow with the rows.

    Parameters
    ----------
    path : Path
        AnnData zarr store to write.
    cells : Cells
        What its rows are.
    facts : dict
        Provenance beside the digests of the experiment's tables.
    """

    def __init__(self, path: Path, cells: Cells, facts: dict[str, Any]) -> None:
        self._path, self._cells, self._facts = path, cells, facts
        self._arrays: list[zarr.Array] = []
        self._held: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
        self._n_written, self._n_added = 0, 0
        self._lost: list[int] = []

    def add(self, features: Tensor, projections: Tensor, lost: Tensor) -> None:
        """Append features (B, D) and projections (B, P) of the next rows; NaN where `lost`."""
        unknown = lost[:, None].to(features.device)
        rows = tuple(
            matrix.float().masked_fill(unknown, torch.nan).cpu().numpy()
            for matrix in (features, projections)
        )
        self._lost += (self._n_added + lost.nonzero()[:, 0]).tolist()
        self._n_added += len(lost)
        if not self._arrays:
            self._create(*(matrix.shape[1] for matrix in rows))
        self._held.append(rows)
        if sum(len(features) for features, _ in self._held) >= _BLOCK:
            self.flush()

    def finish(self) -> None:
        """Write what is held, and which rows are unknown because pixels cannot be read."""
        self.flush()
        if self._lost:
            told = zarr.open_group(self._path, mode="r+")["uns/dynaclr"]
            told[()] = self._provenance(unreadable=self._lost)
            counts = len(self._lost), len(self._cells)
            log.warning("%s: %d of %d observations cannot be read", self._cells.name, *counts)

    def _provenance(self, **more: Any) -> str:
        # What ran where and when stands with the model: a store made again has the same bytes.
        facts = self._facts | self._cells.digests | {"dynaclr": version("dynaclr")} | more
        return json.dumps(facts, sort_keys=True)

    def flush(self) -> None:
        """Write the rows that are held."""
        if not self._held:
            return
        blocks = [np.concatenate(parts) for parts in zip(*self._held, strict=True)]
        end = self._n_written + len(blocks[0])
        for array, block in zip(self._arrays, blocks, strict=True):
            array[self._n_written : end] = block
        self._n_written, self._held = end, []

    def _create(self, *widths: int) -> None:
        """Write everything but the numbers, of which there are zeros that take no memory."""
        zeros = [np.broadcast_to(np.float32(0), (len(self._cells), width)) for width in widths]
        store = ad.AnnData(X=zeros[0], obs=self._cells.observations())
        store.obsm["X_projections"] = zeros[1]
        store.uns["dynaclr"] = self._provenance()
        store.write_zarr(self._path)
        group = zarr.open_group(self._path, mode="r+")
        self._arrays = [group["X"], group["obsm/X_projections"]]


@torch.inference_mode()
def _embed_into(
    encoders: dict[Path, nn.Module],
    facts: dict[Path, dict[str, Any]],
    cells: Cells,
    batch_size: int,
    device: torch.device,
) -> None:
    """Write features and projections of all rows, in their order, by every encoder."""
    normalize = Normalize()
    for encoder in encoders.values():
        encoder.eval().to(device)
    with ExitStack() as finished:
        stores = {
            path: _Store(finished.enter_context(atomic_path(path)), cells, facts[path])
            for path in encoders
        }
        done = 0
        for number, batch in enumerate(cells.batches(batch_size)):
            moved = {name: value.to(device) for name, value in batch.items()}
            x_BCZYX = normalize(at_common_size(moved), moved["center"], moved["spread"])
            for path, encoder in encoders.items():
                stores[path].add(*encoder(x_BCZYX), batch["lost"])
            done += len(x_BCZYX)
            if number % 20 == 0:
                log.info("%s: %d of %d observations", cells.name, done, len(cells))
        for store in stores.values():
            store.finish()
    for path in encoders:
        seal(path)
        log.info("%s: all %d observations written to %s", cells.name, len(cells), path)
