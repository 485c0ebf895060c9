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
