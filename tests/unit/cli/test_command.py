"""The `dynaclr` command as a person uses it."""

import inspect
import json
import resource
import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from tests.unit.config.conftest import write_experiment

from dynaclr.cli.commands import COMMANDS, SWITCHES
from dynaclr.cli.info import show
from dynaclr.cli.main import command_name, parser_options
from dynaclr.cli.project import check
from dynaclr.config import UserError
from dynaclr.io.artifacts import read_json

COMMAND = str(Path(sys.executable).with_name("dynaclr"))


def run(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess:
    return subprocess.run(
        [COMMAND, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.fixture
def project(tmp_path) -> dict:
    """Content of a sound project in ``tmp_path``."""
    training = {
        "model": {"encoder": {"class_path": "dynaclr.models.SmallEncoder"}},
        "data": {"patches": {"markers": ["phase", "reporter"], "size": [16, 16]}},
    }
    (tmp_path / "training.yaml").write_text(yaml.safe_dump(training))
    return {
        "experiments": [write_experiment(tmp_path, name) for name in ("one", "two")],
        "collections": {"both": {"train": ["one"], "validation": ["two"]}},
        "models": {"small": {"collection": "both", "training": "training.yaml"}},
        "evaluation": {"tasks": [{"name": "kind", "label": "kind"}]},
    }


def save(project: dict, folder: Path) -> str:
    (folder / "mine.yaml").write_text(yaml.safe_dump(project))
    return "mine.yaml"


def test_help_lists_every_command():
    said = run("--help").stdout
    for name in COMMANDS:
        assert name in said


FUNCTIONS = [
    function
    for command in COMMANDS.values()
    for function in (command.values() if isinstance(command, dict) else [command])
    if callable(function)
]


def test_switches_are_the_options_that_are_true_or_false():
    found = {
        name
        for function in FUNCTIONS
        for name, kind in function.__annotations__.items()
        if kind == "bool"
    }
    assert found == set(SWITCHES)


@pytest.mark.parametrize(
    ("given", "parsed"),
    [
        (["--dry-run", "--names", "[a]"], ["--dry_run=true", "--names", "[a]"]),
        (["--untrained", "true", "--replace", "False"], None),
        (["--keep-work", "false"], ["--keep_work", "false"]),
        (["--keep_work"], ["--keep_work=true"]),
        (["--keep-work=false"], ["--keep_work=false"]),
        (["--channels.DAPI-405", "a-b.tif"], None),
        (["--channels.DAPI-405=a-b.tif"], None),
    ],
)
def test_options_as_a_person_writes_them(given, parsed):
    assert parser_options(given) == (given if parsed is None else parsed)


def test_the_first_value_of_some_commands_needs_no_option():
    given = ["convert-viscy", "a.ckpt", "--out", "b.ckpt"]
    assert parser_options(given) == ["convert-viscy", "--checkpoint", *given[1:]]
    assert parser_options(["info", "--path", "a.ckpt"]) == ["info", "--path", "a.ckpt"]


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["import", "ctc", "--folder", "x"], "import ctc"),
        (["--debug", "index", "--out", "x"], "index"),
        (["info", "plate.zarr"], "info"),
        (["fit", "-c", "mine.yaml"], "fit"),
    ],
)
def test_the_log_names_the_command_with_its_group(arguments, name):
    assert command_name(arguments) == name


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_every_argument_of_every_command_is_described(function):
    arguments = [a for a in function.__annotations__ if a != "return"]
    for argument in arguments:
        assert f"\n    {argument}: " in inspect.getdoc(function), argument
        assert argument != "config", "the parser keeps this name for itself"


def test_info_reports_what_lies_at_a_path(collection, tmp_path, capsys):
    torch.save({"state_dict": {"encoder.w": torch.ones(3)}}, tmp_path / "a.ckpt")
    store = ad.AnnData(np.zeros((4, 2), np.float32), obsm={"X_umap": np.zeros((4, 2))})
    store.uns["dynaclr"] = '{"checkpoint": "0123"}'
    store.write_zarr(tmp_path / "a.zarr")
    store.write_h5ad(tmp_path / "a.h5ad")
    (tmp_path / "a.txt").touch()
    entry = read_json(collection.experiments / "one/summary.json")["entry"]
    reported = {
        Path(entry["data_path"]): ("OME-Zarr plate", "Phase2D, GFP", "0.6 um"),
        collection.experiments / "one": ("index", "mock", "fields of view"),
        collection.folder: ("index", "one, three, two", "validation"),
        tmp_path / "a.ckpt": ("checkpoint", "3 in 1 tensors"),
        tmp_path / "a.zarr": ("AnnData", "checkpoint", "0123"),
        tmp_path / "a.h5ad": ("AnnData", "X_umap (2)"),
    }
    for path, words in reported.items():
        show(path)
        said = capsys.readouterr().out
        for word in words:
            assert word in said
    done = run("info", str(tmp_path / "a.txt"))
    assert done.returncode == 2
    assert "is no plate, index" in done.stderr


def test_names_in_a_summary_are_no_markup_and_steer_no_terminal(tmp_path):
    (folder := tmp_path / "[red]a\x1b[31m").mkdir()
    store = ad.AnnData(np.zeros((4, 2), np.float32), obsm={"X_[b]": np.zeros((4, 2))})
    store.write_h5ad(folder / "a.h5ad")
    done = run("info", str(folder / "a.h5ad"))
    assert done.returncode == 0, done.stderr
    assert "[red]a\\x1b[31m" in done.stdout
    assert "X_[b] (2)" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr


def test_dry_run_of_patches_reports_bytes(collection, tmp_path):
    folder = collection.experiments / "one"
    before = sorted(folder.iterdir())
    entry = read_json(folder / "summary.json")["entry"] | {"patches": True}
    specs = {"trainings": [{"patches": {"markers": ["phase"], "size": [20, 24]}}]}
    options = ["--entry", json.dumps(entry), "--trainings", json.dumps(specs)]
    done = run("patches", *options, "--experiment", str(folder), "--dry-run")
    assert done.returncode == 0, done.stderr
    reported = json.loads(done.stdout)
    assert reported["bytes"] == reported["n"] * 20 * 24 * 2
    assert sorted(folder.iterdir()) == before


def test_check_reports_stores_that_cannot_serve_all_models(project, tmp_path, monkeypatch):
    encoder = {"class_path": "dynaclr.models.SmallEncoder", "init_args": {"in_channels": 2}}
    overrides = {"model.encoder": encoder, "data.normalization": {"center": "mean"}}
    project["models"]["small"]["overrides"] = {"model.encoder": encoder}
    project["models"]["other"] = project["models"]["small"] | {"overrides": overrides}
    monkeypatch.chdir(tmp_path)
    for dtype in ("native", "uint8"):
        project["experiments"][0]["patches"] = {"dtype": dtype}
        file = Path(save(project, tmp_path))
        if dtype == "native":
            check(file)
            continue
        with pytest.raises(UserError, match="experiment one: the models that use it normalize"):
            check(file)


def test_check_reads_the_file_that_is_named(project, tmp_path):
    done = run("check", "--project", save(project, tmp_path), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2 experiments, 1 collections, 1 models: no problem found" in done.stdout
    done = run("check", "--project", "absent.yaml", folder=tmp_path)
    assert done.returncode == 2
    assert "absent.yaml: no such file" in done.stderr


@pytest.mark.parametrize(
    ("keys", "reported"),
    [
        ({"tau_range": [0.1, 0.2]}, ["experiment one: tau_range", "experiment two: tau_range"]),
        (
            {"sampling": {"group_weights": {"on": 1.0, "two": 1.0}}},
            [
                "group_weights: on is no train experiment. Did you mean 'one'?",
                "group_weights: two is no train experiment",
                "group_weights: train experiment one has no weight",
            ],
        ),
        (
            {"patches": {"markers": ["phase", "Reporter"], "size": [24, 24]}},
            ["marker 'Reporter': no experiment of one, two has it. Known markers: phase, reporter"],
        ),
        ({"positives": ["condition"], "tau_range": [0.1, 0.2]}, []),
        ({"sampling": {"batch_group_by": "well", "group_weights": {"A/1": 1.0}}}, []),
    ],
)
def test_check_holds_a_training_against_its_collection(
    project, tmp_path, monkeypatch, keys, reported
):
    training = yaml.safe_load((tmp_path / "training.yaml").read_text())
    training["model"]["encoder"]["init_args"] = {"in_channels": 2}
    training["data"] |= keys
    (tmp_path / "training.yaml").write_text(yaml.safe_dump(training))
    monkeypatch.chdir(tmp_path)
    path = Path(save(project, tmp_path))
    if not reported:
        check(path)
        return
    with pytest.raises(UserError) as caught:
        check(path)
    assert [text for text in reported if text not in str(caught.value)] == []


def test_user_error_is_one_message_and_code_2(tmp_path):
    done = run("index", "--entry", "absent.yaml", "--out", "x", folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "dynaclr: absent.yaml: no such file. Correct the path, or write the file"
    )
    shown = run("--debug", "index", "--entry", "absent.yaml", "--out", "x", folder=tmp_path)
    assert "Traceback" in shown.stderr


@pytest.mark.parametrize("stage", ["merge", "train"])
def test_a_full_disk_is_one_message_and_code_2(collection, tmp_path, stage):
    """Files that may not grow beyond 2 kB stand in for it."""
    training = {
        "model": {"encoder": {"class_path": "dynaclr.models.SmallEncoder"}},
        "data": {"patches": {"markers": ["phase", "reporter"], "size": [16, 16]}},
        "trainer": {"max_epochs": 1, "logger": False},
    }
    options = {
        "merge": [
            *("--experiments", str(collection.experiments), "--train", "[one]"),
            *("--validation_fov_fraction", "0.5"),
        ],
        "train": [
            *("--training", json.dumps(training), "--collection", str(collection.folder)),
            *("--experiments", str(collection.experiments)),
        ],
    }
    done = subprocess.run(
        [COMMAND, stage, *options[stage], "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048)),
    )
    assert done.returncode == 2, done.stderr
    assert f"dynaclr: {tmp_path / 'out'}" in done.stderr
    assert "File too large. Make room, and run the same command again" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "missing"), [(["info", "x"], "jsonargparse"), (["fit"], "lightning")]
)
def test_the_command_of_the_bare_package_names_what_to_install(arguments, missing):
    script = f"import sys; sys.modules[{missing!r}] = None; sys.argv[1:] = {arguments}"
    script += "; from dynaclr.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert f"dynaclr: {missing} is missing. Install dynaclr[workflow]." in done.stderr


def test_one_training_is_checked_alone(project, tmp_path):
    training = yaml.safe_load((tmp_path / "training.yaml").read_text())
    training["model"]["encoder"]["init_args"] = {"in_channels": 2}
    training["data"]["tau_range"] = [1, 0.5]
    (tmp_path / "training.yaml").write_text(yaml.safe_dump(training))
    with pytest.raises(UserError, match=r"data\.tau_range"):
        check(training=str(tmp_path / "training.yaml"))
    training["data"]["tau_range"] = [0.5, 1]
    (tmp_path / "training.yaml").write_text(yaml.safe_dump(training))
    done = run("check", "--training", "training.yaml", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "training configuration: no problem found\n")


@pytest.mark.parametrize("other", ["project", "content"])
def test_one_training_is_not_checked_with_a_project(tmp_path, other):
    with pytest.raises(UserError, match="Leave out `project` and `content`"):
        check(training="{}", **{other: tmp_path / "mine"})


def test_linear_classifier_from_the_command_line(project, tmp_path):
    rng = np.random.default_rng(0)
    for entry in project["experiments"]:
        rows = [(f"{w}/1/0", track, t) for w in "AB" for track in range(20) for t in range(3)]
        obs = pd.DataFrame(rows, columns=["fov", "track_id", "t"]).assign(experiment=entry["name"])
        obs["lineage_id"] = obs.groupby(["fov", "track_id"]).ngroup()
        obs["condition"] = np.where(obs["fov"].str.startswith("A"), "mock", "infected")
        obs["well"], obs["hours"] = obs["fov"].str[:3], obs["t"] / 2
        obs.index = [f"{f}/{k}/{t}" for f, k, t in rows]
        kind = obs["track_id"] % 2
        features = rng.normal(size=(len(obs), 4)) + 2.0 * kind.to_numpy()[:, None]
        ad.AnnData(X=features.astype(np.float32), obs=obs).write_zarr(
            tmp_path / "embedded" / f"{entry['name']}.zarr"
        )
        labels = obs[["fov", "track_id", "t"]].assign(kind=np.where(kind == 1, "odd", "even"))
        labels.to_csv(tmp_path / f"{entry['name']}.csv", index=False)
        entry["annotations"] = f"{entry['name']}.csv"
    done = run(
        *("classifier", "train", "--project", save(project, tmp_path)),
        *("--embeddings", "embedded", "--names", "[one]"),
        *("--task", "kind", "--out", "classifier"),
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    done = run(
        *("classifier", "apply", "--classifier", "classifier", "--embeddings", "embedded"),
        *("--names", "[two]", "--out", "predictions.csv"),
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    predicted = pd.read_csv(tmp_path / "predictions.csv")
    wanted = np.where(predicted["track_id"] % 2 == 1, "odd", "even")
    assert (predicted["predicted"] == wanted).mean() > 0.95
