"""The schemas that editors use are those of the models."""

import json

import pytest
import yaml

from dynaclr.experiments import ExperimentConfig
from dynaclr.experiments.project import ProjectConfig


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
