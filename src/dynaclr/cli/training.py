"""The commands `train`, `freeze` and `convert-viscy`."""

from __future__ import annotations

from pathlib import Path


def train(
    training: str,
    collection: Path,
    experiments: Path,
    out: Path,
    seed: int = 0,
    threads: int = 2,
    save_minutes: float = 5.0,
    keep_work: bool = False,
) -> None:
    """Train a model; stopped or killed and started again, it goes on where it was.

    SIGTERM and SIGUSR1 save the run and end it with exit code 75.

    Args:
        training: The training configuration (YAML file, or YAML or JSON text).
        collection: Folder of the merged collection.
        experiments: Folder of the results of each experiment.
        out: Folder for checkpoints, history, configuration and provenance.
        seed: Seed of everything random.
        threads: CPU threads.
        save_minutes: Minutes after which a run is saved within an epoch.
        keep_work: Keep what a resume needs, though the run has finished.
    """
    import sys

    from dynaclr.cli.logs import quiet_lightning
    from dynaclr.config.training import load_training
    from dynaclr.training import train as run
    from dynaclr.training.launch import launch

    quiet_lightning()
    content = load_training(training)
    launch(content.get("trainer") or {}, sys.argv[1:])
    run(content, collection, experiments, seed, out, threads, save_minutes, keep_work)


def freeze(pretrained: Path, out: Path, training: str | None = None) -> None:
    """Write the folder of a training for weights that are there, which then embed as they are.

    Args:
        pretrained: Folder of a training, bundle, or checkpoint.
        out: Folder for checkpoint, configuration and provenance.
        training: For a checkpoint alone, its training configuration (YAML file, or YAML or JSON
            text): encoder, patches and normalization.
    """
    from dynaclr.cli.logs import quiet_lightning
    from dynaclr.config.training import load_training
    from dynaclr.training.frozen import freeze as run

    quiet_lightning()
    run(pretrained, out, None if training is None else load_training(training))


def convert_viscy(checkpoint: Path, out: Path) -> None:
    """Turn a checkpoint of VisCy's ContrastiveModule into one that `encoder_checkpoint` takes.

    Prints the encoder that it belongs to; what weights do not tell (backbone, planes, strides) is
    as in the configuration that it was trained with.

    Args:
        checkpoint: Lightning checkpoint with a ContrastiveEncoder or a ResNet3dEncoder.
        out: File to write.
    """
    import yaml

    from dynaclr.training.viscy import convert_viscy as run

    encoder = run(checkpoint, out)
    model = {"model": {"encoder": encoder, "encoder_checkpoint": str(out)}}
    print(yaml.safe_dump(model, sort_keys=False, default_flow_style=None), end="")
