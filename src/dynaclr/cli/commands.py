"""The stages as functions of files: arguments in, products out, no logic.

Each import stands inside its function, so that a command loads only what it needs.
"""

from __future__ import annotations

from pathlib import Path

from dynaclr.cli.figures import FIGURES


def _quiet_lightning() -> None:
    """Keep Lightning to its warnings: what it says of itself hides what the stage says."""
    import logging
    import warnings

    import lightning.pytorch

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module=lightning.pytorch.__name__)


def check(project: Path = Path("config/config.yaml"), content: Path | None = None) -> None:
    """Check a project's configuration, its experiments on disk and its training files.

    Args:
        project: The project configuration (YAML).
        content: JSON file that holds the configuration instead, as Snakemake's `--config` changed
            it; paths in it are still relative to the project's file.
    """
    import json
    import sys

    from dynaclr.config.project import load_project
    from dynaclr.io import check_all_on_disk
    from dynaclr.training import check_project

    _quiet_lightning()
    # A project's own encoders, losses and transforms are modules beside it.
    sys.path.append(str(Path(project).parent.absolute()))
    changed = None if content is None else json.loads(content.read_text(encoding="utf-8"))
    source, base = (project, None) if changed is None else (changed, project)
    loaded = load_project(source, base, check_files=check_all_on_disk)
    check_project(loaded)
    print(
        f"{project}: {len(loaded.registry)} experiments, {len(loaded.collections)} collections, "
        f"{len(loaded.models)} models: no problem found"
    )


def check_training(training: str) -> None:
    """Check a training configuration by building model, data and trainer from it.

    Args:
        training: The training configuration (YAML file, or YAML or JSON text).
    """
    from dynaclr.config.training import load_training
    from dynaclr.training import check_training as run

    _quiet_lightning()
    run(load_training(training), "training configuration")


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


def simulate(entry: str, out: Path, processes: int = 1) -> None:
    """Make an experiment with known truth: plate, tracks, annotations and truth.

    Args:
        entry: The experiment entry with its simulation block (YAML file, or YAML or JSON text).
        out: Folder for simulation.json.
        processes: Fields of view simulated at the same time.
    """
    from dynaclr.config import load_entry
    from dynaclr.io.artifacts import write_json
    from dynaclr.simulation import simulate as run

    summary = run(load_entry(entry), overwrite=True, processes=processes)
    write_json(out / "simulation.json", summary)


def import_ctc(
    folder: Path,
    out: Path,
    interval_minutes: float,
    sequence: str = "01",
    channel: str = "Phase",
    name: str | None = None,
    condition: str = "untreated",
    start_hpi: float = 0.0,
    pixel_size_um: float | None = None,
    labels: Path | None = None,
) -> None:
    """Turn a Cell Tracking Challenge sequence into a plate, tracks and a ready entry.

    Args:
        folder: Folder that holds <sequence>/tNNN.tif and <sequence>_GT/TRA.
        out: Folder to make: plate.zarr, tracks, experiment.yaml, annotations.csv.
        interval_minutes: Minutes from one frame to the next.
        sequence: Number of the sequence.
        channel: Name of the channel in the plate.
        name: Name of the experiment; default: the name of `out`.
        condition: Condition of the cells.
        start_hpi: Hours post infection (or perturbation) at frame 0.
        pixel_size_um: Pixel size in micrometres, if it is known.
        labels: CSV of labels with track_id and t.
    """
    from dynaclr.io.ctc_import import import_ctc as run
    from dynaclr.io.tiff_import import ImportOptions

    options = ImportOptions(
        interval_minutes,
        name=name,
        start_hpi=start_hpi,
        condition=condition,
        pixel_size_um=pixel_size_um,
    )
    run(folder, out, options, sequence=sequence, channel=channel, labels=labels)


def import_stacks(
    channels: dict[str, Path],
    tracks: Path,
    out: Path,
    interval_minutes: float,
    name: str | None = None,
    condition: str = "untreated",
    start_hpi: float = 0.0,
    pixel_size_um: float | None = None,
    labels: Path | None = None,
) -> None:
    """Turn TIFF stacks (T, Y, X), one a channel, and a tracks CSV into a plate and a ready entry.

    Args:
        channels: Channel name to TIFF stack, as {Phase: phase.tif, GFP: gfp.tif}.
        tracks: Tracking table (CSV, Ultrack's columns).
        out: Folder to make: plate.zarr, tracks, experiment.yaml, annotations.csv.
        interval_minutes: Minutes from one frame to the next.
        name: Name of the experiment; default: the name of `out`.
        condition: Condition of the cells.
        start_hpi: Hours post infection (or perturbation) at frame 0.
        pixel_size_um: Pixel size in micrometres, if it is known.
        labels: CSV of labels with track_id and t.
    """
    from dynaclr.io.tiff_import import ImportOptions
    from dynaclr.io.tiff_import import import_stacks as run

    options = ImportOptions(
        interval_minutes,
        name=name,
        start_hpi=start_hpi,
        condition=condition,
        pixel_size_um=pixel_size_um,
    )
    run(channels, tracks, out, options, labels=labels)


def index(entry: str, out: Path) -> None:
    """Make the cell index of one experiment from its plate's metadata and tracking tables.

    Args:
        entry: The experiment entry (YAML file, or YAML or JSON text).
        out: Folder for cells.parquet and summary.json.
    """
    from dynaclr.config import load_entry
    from dynaclr.index import build_index

    build_index(load_entry(entry), out)


def statistics(entry: str, out: Path, threads: int = 2) -> None:
    """Compute the intensity statistics of one experiment in one pass over its pixels.

    Args:
        entry: The experiment entry (YAML file, or YAML or JSON text).
        out: Folder for statistics.parquet.
        threads: Frames read and counted at the same time.
    """
    from dynaclr.config import load_entry
    from dynaclr.data import compute_statistics

    compute_statistics(load_entry(entry), out, threads)


def patches(
    entry: str,
    experiment: Path,
    trainings: str,
    threads: int = 2,
    dry_run: bool = False,
) -> None:
    """Store the patches of an experiment's cells for training, each chunk of its plate read once.

    Args:
        entry: The experiment entry (YAML file, or YAML or JSON text).
        experiment: Folder of the experiment's results; gets patches.zarr and patches.json.
        trainings: What it shall serve, as {trainings: [...]}: the `data` sections of training
            configurations (YAML or JSON text, or a file).
        threads: Fields of view read at the same time.
        dry_run: Only say how many bytes it will have and how long reading takes.
    """
    import json

    from dynaclr.config import load_entry
    from dynaclr.config.training import load_training
    from dynaclr.data import Cut, build_patches

    cuts = [Cut.of(data) for data in load_training(trainings)["trainings"]]
    report = build_patches(load_entry(entry), experiment, cuts, threads, dry_run)
    if dry_run:
        print(json.dumps(report, sort_keys=True))


def merge(
    experiments: Path,
    train: list[str],
    out: Path,
    validation: list[str] | None = None,
    validation_fov_fraction: float | None = None,
    seed: int = 0,
) -> None:
    """Merge the indexes of several experiments into one collection.

    Args:
        experiments: Folder that holds <experiment>/cells.parquet.
        train: Experiments to train on.
        out: Folder for index.arrow, registry.json and manifest.json.
        validation: Experiments kept whole for validation.
        validation_fov_fraction: Instead: share of each experiment's fields of view.
        seed: Seed that chooses those fields of view.
    """
    from dynaclr.index import merge_indexes

    merge_indexes(
        [experiments / name for name in sorted({*train, *(validation or [])})],
        out,
        train=train,
        validation=validation or [],
        validation_fov_fraction=validation_fov_fraction,
        seed=seed,
    )


def inspect_batches(
    training: str,
    collection: Path,
    experiments: Path,
    out: Path,
    seed: int = 0,
    epoch: int = 0,
    max_steps: int = 1000,
) -> None:
    """Show what the batches of a training configuration hold, before anything is trained.

    A batch is what all processes of the trainer see in a step.

    Args:
        training: The training configuration (YAML file, or YAML or JSON text).
        collection: Folder of the merged collection.
        experiments: Folder that holds <experiment>/statistics.parquet.
        out: Folder for batches.csv, batches.png and batch_pairs.png.
        seed: Seed of the training.
        epoch: Which epoch.
        max_steps: Longer epochs are audited up to this step.
    """
    from dynaclr.config.training import load_training
    from dynaclr.figures.batches import draw_audit, draw_pairs
    from dynaclr.inference import inspect_batches as run

    _quiet_lightning()
    settings = load_training(training)
    audit, pairs = run(settings, collection, experiments, seed, out, epoch, max_steps)
    draw_audit(**vars(audit), path=out / "batches.png")
    draw_pairs(*pairs, out / "batch_pairs.png")


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
        experiments: Folder that holds <experiment>/statistics.parquet.
        out: Folder for checkpoints, history, configuration and provenance.
        seed: Seed of everything random.
        threads: CPU threads.
        save_minutes: Minutes after which a run is saved within an epoch.
        keep_work: Keep what a resume needs, though the run has finished.
    """
    import sys

    from dynaclr.config.training import load_training
    from dynaclr.training import train as run
    from dynaclr.training.launch import launch

    _quiet_lightning()
    content = load_training(training)
    launch(content, sys.argv[1:])
    run(content, collection, experiments, seed, out, threads, save_minutes, keep_work)


def trainer(arguments: list[str]) -> None:
    """Run one of `TRAINER_COMMANDS`, whose arguments Lightning parses.

    Args:
        arguments: The command and its arguments.
    """
    from dynaclr.cli.lightning import run_trainer

    _quiet_lightning()
    run_trainer(arguments)


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
        models: Folders of trainings that cut the same patches: the seeds of a model.
        experiment: Folder of an experiment's results.
        out: Gets <name of the training's folder>/<experiment>.zarr of each (AnnData).
        untrained: Write also <name>-untrained/<experiment>.zarr of each, by the encoder with the
            weights it started from, a baseline.
        batch_size: Most patches of a batch.
        threads: CPU threads.
        device: Torch device; auto takes a GPU when there is one.
    """
    from dynaclr.inference import embed as run

    _quiet_lightning()
    run(models, experiment, out, untrained, batch_size, threads, device)


def fit_pixels(
    patches: str,
    experiments: Path,
    names: list[str],
    out: Path,
    normalization: str = "{}",
) -> None:
    """Fit principal components of pixels on training experiments, for a baseline.

    Args:
        patches: YAML or JSON text as in a training configuration: markers, size, depth, ...
        experiments: Folder that holds the results of each experiment.
        names: The training experiments.
        out: Components to write (.npz).
        normalization: YAML or JSON text as in a training configuration.
    """
    from dynaclr.inference import fit_pixels as run

    run(*_patch_options(patches, normalization), [experiments / name for name in names], out)


def embed_baselines(
    patches: str,
    experiment: Path,
    out: Path,
    normalization: str = "{}",
    pixels: Path | None = None,
    pixels_out: Path | None = None,
    batch_size: int = 256,
) -> None:
    """Write intensity statistics, and components of pixels, of every observation: baselines.

    Args:
        patches: YAML or JSON text as in a training configuration: markers, size, depth, ...
        experiment: Folder of an experiment's results.
        out: AnnData zarr store to write for intensity statistics.
        normalization: YAML or JSON text as in a training configuration.
        pixels: Components that fit-pixels wrote.
        pixels_out: AnnData zarr store to write for coordinates on them.
        batch_size: Most patches of a batch.
    """
    from dynaclr.inference import embed_baselines as run

    options = _patch_options(patches, normalization)
    run(*options, experiment, out, pixels, pixels_out, batch_size)


def _patch_options(patches: str, normalization: str) -> tuple:
    from dynaclr.config.training import load_training
    from dynaclr.data import NormalizationConfig, PatchConfig

    cut = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in load_training(patches).items()
    }
    return PatchConfig(**cut), NormalizationConfig(**load_training(normalization))


def thumbnails(
    patches: str,
    experiment: Path,
    out: Path,
    normalization: str = "{}",
    cells: int = 2000,
) -> None:
    """Write small pictures of an experiment's cells, which the report shows.

    Args:
        patches: YAML or JSON text as in a training configuration: markers, size, depth, ...
        experiment: Folder of an experiment's results.
        out: Table to write (.parquet).
        normalization: YAML or JSON text as in a training configuration.
        cells: Most pictures; cells of whole lineages are taken.
    """
    from dynaclr.inference import write_thumbnails

    write_thumbnails(*_patch_options(patches, normalization), experiment, out, cells)


def evaluate(plan: str, out: Path, results: Path = Path("results")) -> None:
    """Judge a model's embeddings on held-out experiments, beside its baselines.

    Args:
        plan: YAML or JSON text, or a file: model, variants (each one's folder in the results
            folder, which holds <experiment>.zarr), train, held_out, labels, evaluation (as in the
            project configuration), cells (most of them in maps.h5ad).
        out: Folder for tables and maps.
        results: The results folder.
    """
    from dynaclr.config import EvaluationConfig
    from dynaclr.config.training import load_training
    from dynaclr.evaluation import evaluate_model

    chosen = load_training(plan)
    stores = {
        variant: {name: results / folder / f"{name}.zarr" for name in chosen["labels"]}
        for variant, folder in chosen["variants"].items()
    }
    evaluate_model(
        chosen["model"],
        stores,
        chosen["labels"],
        EvaluationConfig.model_validate(chosen["evaluation"]),
        chosen["train"],
        chosen["held_out"],
        out,
        max_cells=chosen["cells"],
    )


def compare(plan: str, evaluations: Path, out: Path) -> None:
    """Hold evaluated models side by side: tables, and contrasts with verdicts.

    Args:
        plan: YAML or JSON text, or a file: as `comparison` in the project configuration.
        evaluations: Folder that holds <model>/metrics.csv.
        out: Folder for metrics.csv and differences.csv.
    """
    from dynaclr.config import ComparisonConfig
    from dynaclr.config.training import load_training
    from dynaclr.evaluation import compare_models

    config = ComparisonConfig.model_validate(load_training(plan))
    compare_models({name: evaluations / name for name in config.models}, config, out)


def report(plan: str, results: Path = Path("results"), out: Path | None = None) -> None:
    """Write the report: one self-contained page of what lies in a results folder.

    Args:
        plan: YAML or JSON text, or a file: experiments, collections, models, figures, config.
        results: The results folder.
        out: Page to write; default: report.html in the results folder.
    """
    from dynaclr.config.training import load_training
    from dynaclr.report import ReportPlan, write_report

    chosen = ReportPlan.model_validate(load_training(plan))
    write_report(chosen, results, out or results / "report.html")


def train_linear_classifier(
    embeddings: Path,
    experiments: list[str],
    task: str,
    out: Path,
    project: Path = Path("config/config.yaml"),
) -> None:
    """Train a linear classifier of one task on embeddings and save it as arrays and JSON.

    Args:
        embeddings: Folder that holds <experiment>.zarr.
        experiments: Experiments to train on.
        task: Name of the task in the project configuration.
        out: Folder for the classifier.
        project: Project configuration: its tasks, and the label tables of its experiments.
    """
    from dynaclr.config.project import load_project
    from dynaclr.evaluation import train_linear_classifier as run
    from dynaclr.io import check_all_on_disk

    loaded = load_project(project, check_files=check_all_on_disk)
    stores = {name: embeddings / f"{name}.zarr" for name in experiments}
    run(stores, loaded.labels(experiments), loaded.task(task), out)


def apply_linear_classifier(
    classifier: Path, embeddings: Path, experiments: list[str], out: Path
) -> None:
    """Predict the classes of all observations of experiments.

    Args:
        classifier: Folder of a classifier.
        embeddings: Folder that holds <experiment>.zarr.
        experiments: Experiments to predict.
        out: Table to write (.parquet or .csv).
    """
    from dynaclr.evaluation import apply_linear_classifier as run

    run(classifier, {name: embeddings / f"{name}.zarr" for name in experiments}, out)


def publish_classifier(classifier: Path, registry: Path, name: str) -> None:
    """Publish a classifier as the next version of a name in a registry folder.

    Args:
        classifier: Folder of a classifier.
        registry: The registry folder.
        name: Name to publish it under.
    """
    from dynaclr.evaluation import publish_classifier as run

    print(f"{name} {run(classifier, registry, name)}")


def fetch_classifier(registry: Path, name: str, out: Path, version: str = "latest") -> None:
    """Copy a published classifier from a registry folder.

    Args:
        registry: The registry folder.
        name: Name of the classifier.
        out: Folder to write.
        version: A version such as v3, or latest.
    """
    from dynaclr.evaluation import fetch_classifier as run

    print(f"{name} {run(registry, name, out, version)}")


def annotate(
    stores: list[Path],
    table: Path,
    key: list[str] | None = None,
    columns: list[str] | None = None,
    replace: bool = False,
) -> None:
    """Append columns of a table to embedding stores by key: to all of them, or to none.

    Args:
        stores: AnnData stores (.zarr) or maps (.h5ad), changed in place.
        table: Table (.csv or .parquet).
        key: Columns that both share; default: those of experiment, fov, track_id and t that the
            table has.
        columns: Columns to append; default: all that are no key.
        replace: Replace columns of the same name.
    """
    from dynaclr.evaluation import append_columns

    append_columns(stores, table, key, columns, replace)


def info(path: Path) -> None:
    """Tell in a few lines what a plate, an index, a checkpoint or an embedding store holds.

    Args:
        path: OME-Zarr plate; cells.parquet or index.arrow; .ckpt; AnnData (.zarr, .h5ad); or a
            folder of results that holds one of them.
    """
    from dynaclr.cli.info import show

    show(path)


COMMANDS = {
    "check": check,
    "check-training": check_training,
    "schema": schema,
    "simulate": simulate,
    "import-ctc": import_ctc,
    "import-stacks": import_stacks,
    "index": index,
    "statistics": statistics,
    "patches": patches,
    "merge": merge,
    "inspect-batches": inspect_batches,
    "train": train,
    "embed": embed,
    "fit-pixels": fit_pixels,
    "embed-baselines": embed_baselines,
    "thumbnails": thumbnails,
    "evaluate": evaluate,
    "compare": compare,
    "report": report,
    "train-linear-classifier": train_linear_classifier,
    "apply-linear-classifier": apply_linear_classifier,
    "publish-classifier": publish_classifier,
    "fetch-classifier": fetch_classifier,
    "annotate": annotate,
    "info": info,
    "figures": FIGURES,
}

# Their arguments are those of model, data and trainer, which Lightning's own command line knows.
TRAINER_COMMANDS = ("fit", "validate", "predict")
