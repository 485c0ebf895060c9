"""Commands about a whole project: checks, schemas, and summaries of paths."""

from __future__ import annotations

from pathlib import Path


def check(
    project: Path | None = None,
    content: Path | None = None,
    training: str | None = None,
) -> None:
    """Check a project's configuration, its experiments on disk and its training files.

    Args:
        project: The project configuration (YAML); default: config/config.yaml.
        content: JSON file that holds the configuration instead, as Snakemake's `--config` changed
            it; paths in it are still relative to the project's file.
        training: Check this training configuration alone (YAML file, or YAML or JSON text); not
            with `project` or `content`.
    """
    import json
    import sys

    from dynaclr.config import UserError
    from dynaclr.config.project import load_project
    from dynaclr.config.training import load_training
    from dynaclr.io import check_all_on_disk
    from dynaclr.workflow.evaluation_checks import check_evaluation

    if training is not None and (project or content):
        raise UserError("check: `training` is checked alone. Leave out `project` and `content`.")
    project = project or Path("config/config.yaml")
    # Encoders, losses and transforms of the user's own are modules beside the file.
    sys.path.append(str(Path(training or project).parent.absolute()))
    if training is None:
        changed = None if content is None else json.loads(content.read_text(encoding="utf-8"))
        source, base = (project, None) if changed is None else (changed, project)
        loaded = load_project(source, base, check_files=check_all_on_disk)
        check_evaluation(loaded)
    # To load Lightning takes most of the time: what it is not needed for has been said before.
    from dynaclr.cli.logs import quiet_lightning
    from dynaclr.training import check_project, check_training

    quiet_lightning()
    if training is not None:
        check_training(load_training(training), "training configuration")
        print("training configuration: no problem found")
        return
    check_project(loaded)
    print(
        f"{project}: {len(loaded.registry)} experiments, {len(loaded.collections)} collections, "
        f"{len(loaded.models)} models: no problem found"
    )


def schema(out: Path = Path("workflow/schemas")) -> None:
    """Write the JSON schemas of the project configuration and of an experiment entry.

    Args:
        out: Folder for config.schema.json and experiment.schema.json.
    """
    from dynaclr.config import ExperimentConfig
    from dynaclr.config.project import ProjectConfig
    from dynaclr.io.artifacts import write_json

    write_json(out / "config.schema.json", ProjectConfig.model_json_schema())
    write_json(out / "experiment.schema.json", ExperimentConfig.model_json_schema())


def info(path: Path) -> None:
    """Summarize what a plate, an index, a checkpoint or an embedding store holds.

    Args:
        path: OME-Zarr plate; cells.parquet or index.arrow; .ckpt; AnnData (.zarr, .h5ad); or a
            folder of results that holds one of them.
    """
    from dynaclr.cli.info import show

    show(path)


def new(
    out: Path,
    data_path: Path | None = None,
    tracks_path: Path | None = None,
    interval_minutes: float | None = None,
    name: str | None = None,
    start_hpi: float = 0.0,
    annotations: Path | None = None,
    entries: str | None = None,
    cell_diameter_um: float | None = None,
    template: Path = Path("config/template"),
) -> None:
    """Write a new project for plates of your own, which passes `check`: entry, project, trainings.

    Give a plate with its tracks, or the entries that `dynaclr import` wrote. In the folder of a
    project, the entry of a further experiment is added.

    Args:
        out: Folder of the project.
        data_path: OME-Zarr plate.
        tracks_path: Its tracks, as the key `tracks_path` of an entry.
        interval_minutes: Minutes from one frame to the next.
        name: Name of the experiment; default: that of the folder of the plate.
        start_hpi: Hours post infection (or perturbation) at frame 0.
        annotations: Table of labels, if there is one.
        entries: File of an entry that is there already, or a pattern of several files.
        cell_diameter_um: Diameter of a cell; default: estimated from the distance of neighbours.
        template: Folder of the templates.
    """
    import glob

    from dynaclr.config import UserError
    from dynaclr.importers.new_project import describe_found, propose_entry, write_project

    proposed = None
    if data_path is not None:
        if tracks_path is None or interval_minutes is None:
            raise UserError("new: a plate needs --tracks-path and --interval-minutes too.")
        given = (tracks_path, name or data_path.absolute().parent.name, interval_minutes)
        proposed = propose_entry(data_path, *given, start_hpi, annotations)
    files = sorted(map(Path, glob.glob(entries))) if entries else []
    if entries and not files:
        raise UserError(f"{entries}: no such file. Correct --entries.")
    found = write_project(
        out, template, entries=files, proposed=proposed, cell_diameter_um=cell_diameter_um
    )
    for line in describe_found(out, found):
        print(line)
