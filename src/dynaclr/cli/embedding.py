"""Commands that read every observation of an experiment: embedding, baselines, thumbnails."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dynaclr.data import NormalizationConfig, PatchConfig


def embed(
    models: list[Path],
    experiment: Path,
    out: Path,
    untrained: bool = False,
    batch_size: int = 256,
    threads: int = 2,
    device: str = "auto",
) -> None:
    """Embed every observation of an experiment with trained models, reading it once for all.

    Args:
        models: Folders of trainings that crop the same patches: the seeds of a model.
        experiment: Folder of an experiment's results.
        out: Folder that gets <name of the training's folder>/<experiment>.zarr of each (AnnData).
        untrained: Write also <name>-untrained/<experiment>.zarr of each, by the encoder with the
            weights it started from, a baseline.
        batch_size: Most patches of a batch.
        threads: CPU threads.
        device: Torch device; auto takes a GPU when there is one.
    """
    from dynaclr.cli.logs import quiet_lightning
    from dynaclr.inference import embed as run

    quiet_lightning()
    run(models, experiment, out, untrained, batch_size, threads, device)


def fit_baselines(
    patches: str,
    experiments: Path,
    names: list[str],
    out: Path,
    normalization: str = "{}",
) -> None:
    """Fit principal components of pixels on training experiments, for a baseline.

    Args:
        patches: YAML or JSON text as in a training configuration: markers, size, depth, ...
        experiments: Folder of the results of each experiment.
        names: The training experiments.
        out: Components to write (.npz).
        normalization: YAML or JSON text as in a training configuration.
    """
    from dynaclr.inference import fit_pixels

    folders = [experiments / name for name in names]
    fit_pixels(*_patch_options(patches, normalization), folders, out)


def embed_baselines(
    patches: str,
    experiment: Path,
    out: Path,
    normalization: str = "{}",
    components: Path | None = None,
    batch_size: int = 256,
) -> None:
    """Write baselines of every observation: intensity, texture and components of pixels.

    Args:
        patches: YAML or JSON text as in a training configuration: markers, size, depth, ...
        experiment: Folder of an experiment's results.
        out: Folder that gets <experiment>.zarr (AnnData) in intensity, texture and pixels.
        normalization: YAML or JSON text as in a training configuration.
        components: What `baselines fit` wrote; without it, there are no pixels.
        batch_size: Most patches of a batch.
    """
    from dynaclr.inference import embed_baselines as run

    run(*_patch_options(patches, normalization), experiment, out, components, batch_size)


def thumbnails(
    patches: str,
    experiment: Path,
    out: Path,
    normalization: str = "{}",
    pictures: int = 2000,
) -> None:
    """Write small pictures of an experiment's cells, which the report shows.

    Args:
        patches: YAML or JSON text as in a training configuration: markers, size, depth, ...
        experiment: Folder of an experiment's results.
        out: Table to write (.parquet).
        normalization: YAML or JSON text as in a training configuration.
        pictures: Most pictures; whole lineages are taken.
    """
    from dynaclr.inference import write_thumbnails

    write_thumbnails(*_patch_options(patches, normalization), experiment, out, pictures)


def _patch_options(patches: str, normalization: str) -> tuple[PatchConfig, NormalizationConfig]:
    from dynaclr.config.training import load_training
    from dynaclr.data import NormalizationConfig, PatchConfig

    options = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in load_training(patches).items()
    }
    return PatchConfig(**options), NormalizationConfig(**load_training(normalization))
