"""The schemas that editors use are those of the models."""

import json
from pathlib import Path

import pytest
import yaml
from snakemake.utils import update_config

from dynaclr.config import ExperimentConfig
from dynaclr.config.project import ProjectConfig, load_project

CONFIG = Path(__file__).resolve().parents[3] / "config"


@pytest.mark.parametrize(
    ("name", "model"), [("config", ProjectConfig), ("experiment", ExperimentConfig)]
)
def test_schema_file_is_up_to_date(repository, name, model):
    path = repository / f"workflow/schemas/{name}.schema.json"
    assert json.loads(path.read_text()) == model.model_json_schema(), "run `dynaclr schema`"


@pytest.mark.parametrize(
    "model",
    [ProjectConfig, ExperimentConfig],
    ids=lambda model: model.__name__,
)
def test_every_key_is_described(model):
    schema = model.model_json_schema()
    for definition in (schema, *schema["$defs"].values()):
        assert definition.get("description")
        for key, value in definition.get("properties", {}).items():
            assert value.get("description") or "$ref" in value, key


def test_every_key_stands_in_the_documentation(repository):
    text = (repository / "config/README.md").read_text()
    schema = ProjectConfig.model_json_schema()
    parts = (schema, *(schema["$defs"][name] for name in schema["$defs"]))
    for definition in parts:
        if definition.get("title") == "SimulationConfig":
            continue
        for key in definition.get("properties", {}):
            assert f"`{key}`" in text or f"{key}:" in text, key


def test_demo_configuration_points_editors_to_the_schema(repository):
    first_lines = (repository / "config/config.yaml").read_text().splitlines()[:3]
    assert any("schemas/config.schema.json" in line for line in first_lines)
    assert yaml.safe_load((repository / "config/config.yaml").read_text())["models"]


def read(file):
    """A project that is offered; a full one changes the one that it is named after."""
    content = yaml.safe_load(file.read_text())
    base = file.with_name(file.name.replace("_full", ""))
    if base == file:
        return content
    whole = yaml.safe_load(base.read_text())
    update_config(whole, content)
    return whole


# Templates have placeholders; `dynaclr new` fills them.
FILES = [file for file in sorted(CONFIG.rglob("*.yaml"), key=str) if "template" not in file.parts]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(CONFIG)))
def test_every_project_that_is_offered_is_sound(file):
    content = read(file)
    if "models" not in content:
        assert file.parent.name in ("experiments", "training", "sampling"), "part of a project"
        return
    project = load_project(content, file)
    assert project.evaluation.tasks
    assert project.models
