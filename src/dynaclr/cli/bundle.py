"""Commands that take a trained encoder elsewhere: `bundle` and `export`."""

from __future__ import annotations

from pathlib import Path


def bundle(
    training: Path | None = None,
    out: Path | None = None,
    experiment: Path | None = None,
    evaluation: Path | None = None,
    check: Path | None = None,
) -> None:
    """Write one folder of a training that embeds alike on any machine, or check such a folder.

    Args:
        training: Folder of a training: results/models/<model>/seed<seed>.
        out: Folder to write.
        experiment: Folder of an experiment's results, some of whose patches become the reference;
            default: the first that was trained on.
        evaluation: Folder of the model's evaluation, whose classifiers, maps and scores come along.
        check: A bundle: verify its digests, and that it embeds its reference patches as it did.
    """
    from dynaclr.cli.logs import quiet_lightning
    from dynaclr.config import UserError
    from dynaclr.inference import check_bundle, write_bundle

    quiet_lightning()
    if check is not None:
        if any((training, out, experiment, evaluation)):
            raise UserError("bundle: `check` stands alone. Leave out the others.")
        difference, tolerance = check_bundle(check)
        print(
            f"{check}: all files are as they were written, and embeddings differ by "
            f"{difference:.1e} of the largest feature (at most {tolerance:.0e} is allowed)"
        )
        return
    if training is None or out is None:
        raise UserError("bundle: needs the folder of a training and --out, or --check.")
    write_bundle(training, out, experiment, evaluation)


def export(training: Path, out: Path | None = None, check: Path | None = None) -> None:
    """Write an encoder with its normalization as a program of `torch.export`, and compare them.

    Args:
        training: Folder of a training, or bundle.
        out: File to write (.pt2).
        check: Instead of writing one, compare this file with the encoder.
    """
    from dynaclr.cli.logs import quiet_lightning
    from dynaclr.config import UserError
    from dynaclr.inference import check_export, export_encoder

    quiet_lightning()
    file = check or out
    if file is None or (check and out):
        raise UserError("export: needs either --out or --check.")
    difference = check_export(training, file) if check else export_encoder(training, file)
    print(f"{file}: features differ by {difference:.1e} of the largest from those of {training}")
