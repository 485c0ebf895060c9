"""What rules hand to their jobs: what a job uses of the configuration, and nothing else."""

import copy
import json
from pathlib import Path

import pytest
import yaml
from tests.unit.config.conftest import write_experiment

from dynaclr.config import UserError
from dynaclr.config.project import load_project
from dynaclr.workflow.ceiling_plan import CeilingPlan
from dynaclr.workflow.evaluation_plan import EvaluationPlan
from dynaclr.workflow.frozen_plan import FrozenPlan
from dynaclr.workflow.paths import Paths
from dynaclr.workflow.plan import Plan

TRAINING = {
    "model": {
        "encoder": {"class_path": "dynaclr.models.SmallEncoder", "init_args": {"in_channels": 1}}
    },
    "data": {"patches": {"markers": ["phase"], "size": [16, 16]}},
}


@pytest.fixture
def content(tmp_path, monkeypatch) -> dict:
    """A project of two collections and three models, of which two have the same patch spec."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "training.yaml").write_text(yaml.safe_dump(TRAINING))
    model = {"collection": "both", "training": "training.yaml"}
    return {
        "experiments": [write_experiment(tmp_path, name) for name in ("one", "two", "three")],
        "collections": {"both": {"train": ["one"], "validation": ["two"]}},
        "models": {
            "a": model | {"seeds": [1, 0]},
            "b": model | {"seeds": [0, 1], "overrides": {"model.learning_rate": 0.01}},
            "wide": model | {"overrides": {"data.patches.size": [32, 32]}},
        },
        "evaluation": {"experiments": ["three"]},
    }


def plan_of(content: dict) -> Plan:
    return Plan(load_project(content, Path("config.yaml")), content)


def test_an_entry_is_given_without_what_a_stage_does_not_use(content):
    content["experiments"][0] |= {"patches": True, "organelle": "ER"}
    plan = plan_of(content)
    assert json.loads(plan.entry("one"))["organelle"] == "ER"
    assert "patches" not in json.loads(plan.entry("one"))
    assert "start_hpi" not in json.loads(plan.entry("one", "start_hpi"))
    assert "organelle" not in json.loads(plan.pixel_entry("one"))
    assert json.loads(plan.pixel_entry("one"))["start_hpi"] == 0, "hours are not those of pixels"
    assert json.loads(plan.store_entry("one"))["patches"]["dtype"] == "native"


def test_only_experiments_that_ask_for_a_store_have_one(content):
    content["experiments"][1]["patches"] = True
    assert plan_of(content).with_store() == ["two"]


def test_models_with_the_same_patch_spec_share_baselines(content):
    plan = plan_of(content)
    digests = {name: plan.patches_digests[name] for name in ("a", "b", "wide")}
    assert digests["a"] == digests["b"] != digests["wide"]
    assert plan.shared_patches("both", digests["wide"]) == plan.patches("wide")
    with pytest.raises(UserError, match=r"baselines/both/0000: no model has this patch spec"):
        plan.shared_patches("both", "0000")
    shared = f"results/baselines/both/{digests['a']}/pixels"
    assert plan.variants("a")["pixels"] == plan.variants("b")["pixels"] == shared


def with_ceilings(content: dict) -> CeilingPlan:
    tasks = [{"name": "state", "label": "state"}, {"name": "onset", "label": "early"}]
    content["evaluation"] |= {"ceiling": True, "tasks": tasks}
    return CeilingPlan(plan_of(content))


def test_every_task_has_a_ceiling_if_they_are_asked_for(content):
    ceilings = with_ceilings(content)
    assert ceilings.checkpoints("a") == [
        f"results/models/a/ceiling/{task}.ckpt" for task in ("state", "onset")
    ]
    variants = ceilings.plan.variants("a")
    assert variants["ceiling-state"] == "results/embeddings/a/ceiling-state"
    content["evaluation"]["ceiling"] = False
    assert not any("ceiling" in name for name in plan_of(content).variants("a"))


def test_a_frozen_model_has_no_ceiling(content):
    content["models"]["frozen"] = {"pretrained": "results/models/a/seed1", "collection": "both"}
    ceilings = with_ceilings(content)
    assert ceilings.checkpoints("frozen") == []
    assert not any("ceiling" in name for name in ceilings.plan.variants("frozen"))
    assert {*ceilings.codes} == {"a", "b", "wide"}


def test_a_ceiling_depends_on_training_experiments_and_its_own_task_alone(content):
    def inputs(**changes) -> list:
        changed = copy.deepcopy(content)
        changed["evaluation"] |= changes
        ceilings = with_ceilings(changed)
        return [
            *(ceilings.training("a"), ceilings.labels("a", "state"), ceilings.seed("a")),
            *(ceilings.training_inputs("a"), ceilings.label_content("a", "state")),
        ]

    before = inputs()
    assert before[2] == 0
    assert not any("/two/" in file or "/three/" in file for file in before[3])
    content["collections"]["both"]["validation"] = ["two", "three"]
    content["models"]["a"]["overrides"] = {
        **{"trainer.max_epochs": 7, "data.tau_range": [1, 2], "data.sampling": {"leaky": 0.1}}
    }
    assert inputs(control="mock", bootstrap=20) == before
    content["models"]["a"]["overrides"] = {"data.patches.size": [32, 32]}
    assert inputs()[0] != before[0]


def test_one_rule_embeds_for_each_set_of_seeds(content):
    plan = plan_of(content)
    both = ("seed0", "seed1", "seed0-untrained", "seed1-untrained")
    assert plan.embedding_rules() == {both: "embed", ("seed0", "seed0-untrained"): "embed_seeds_0"}
    assert plan.encoders("a") == both


def test_a_frozen_model_has_one_encoder_and_no_baselines(content):
    content["models"]["frozen"] = {"pretrained": "results/models/a/seed1"}
    plan = plan_of(content)
    assert plan.embedding_rules()[("seed1",)] == "embed_only_seeds_1"
    assert plan.variants("frozen") == {"seed1": "results/embeddings/frozen/seed1"}
    assert plan.settings["frozen"]["data"] == plan.settings["a"]["data"]
    frozen = FrozenPlan(plan)
    assert frozen.models == ["frozen"]
    assert frozen.inputs("frozen") == ["results/models/a/seed1/best.ckpt.digest"]
    assert plan.project.reference_of("frozen") is None
    report = json.loads(Path(plan.report()).read_text())
    assert report["frozen"] == ["frozen"]
    assert not [file for file in plan.report_inputs() if "models/frozen/seed1/metrics" in file]


def test_a_bundle_is_known_by_its_content_and_brings_a_reference(content, tmp_path):
    folder = tmp_path / "bundle"
    (folder / "reference").mkdir(parents=True)
    (folder / "best.ckpt").write_bytes(b"weights")
    (folder / "config.yaml").write_text(yaml.safe_dump(TRAINING))

    def contents() -> dict[str, str]:
        plan = plan_of(content | {"models": {"m": {"pretrained": str(folder)}}, "collections": {}})
        assert plan.project.reference_of("m") == folder / "reference"
        assert FrozenPlan(plan).inputs("m") == []
        return FrozenPlan(plan).content("m")

    before = contents()
    folder = folder.rename(tmp_path / "moved")
    assert contents() == before
    (folder / "best.ckpt").write_bytes(b"other weights")
    assert contents()["checkpoint"] != before["checkpoint"]


def test_whether_there_are_baselines_changes_no_score(content):
    before = EvaluationPlan(plan_of(content))
    # All models are trained, so that this changes nothing.
    content["evaluation"] |= {"untrained": True, "baselines": True}
    assert EvaluationPlan(plan_of(content)).score("a", "three") == before.score("a", "three")


def test_a_training_waits_for_models_it_starts_from_alone(content, tmp_path):
    start = "results/models/a/seed1/best.ckpt"
    content["models"]["b"]["overrides"] = {"model.encoder_checkpoint": start}
    elsewhere = tmp_path / "elsewhere.ckpt"
    elsewhere.write_bytes(b"weights")
    content["models"]["wide"]["overrides"]["model.encoder_checkpoint"] = "elsewhere.ckpt"
    plan = plan_of(content)
    assert plan.upstream_checkpoints("b") == [start]
    assert plan.external_checkpoints("b") == {}
    assert plan.upstream_checkpoints("wide") == []
    before = plan.external_checkpoints("wide")["encoder_checkpoint"]
    elsewhere.write_bytes(b"other weights")
    assert plan_of(content).external_checkpoints("wide")["encoder_checkpoint"] != before


def test_long_plans_go_through_files_named_by_their_content(content):
    judged = EvaluationPlan(plan_of(content))
    file = Path(judged.join("a"))
    assert file.is_relative_to(Paths.cache)
    assert json.loads(file.read_text())["held_out"] == ["three"]
    assert judged.join("a") == str(file)
    assert judged.fit("a") != judged.fit("b")


def test_a_further_held_out_experiment_changes_no_fit_and_no_score_of_another(content, tmp_path):
    before = EvaluationPlan(plan_of(content))
    content["experiments"].append(write_experiment(tmp_path, "further"))
    content["evaluation"]["experiments"] = ["three", "further"]
    after = EvaluationPlan(plan_of(content))
    assert after.scored("a") == ["three", "further"]
    assert after.fit("a") == before.fit("a")
    assert after.score("a", "three") == before.score("a", "three")
    assert after.join("a") != before.join("a")


def test_more_cells_in_the_report_change_the_maps_alone(content):
    before = EvaluationPlan(plan_of(content))
    content["report"] = {"cells": 77}
    after = EvaluationPlan(plan_of(content))
    assert after.maps("a") != before.maps("a")
    for of in ("fit", "join"):
        assert getattr(after, of)("a") == getattr(before, of)("a")


def test_paths_keep_wildcards_for_names_that_are_left_out():
    paths = Paths()
    assert paths.experiment() == "results/experiments/{experiment}"
    assert paths.seed("best.ckpt", "m") == "results/models/m/seed{seed}/best.ckpt"
    assert paths.of_experiments(["a", "b"], "x") == [
        *("results/experiments/a/x", "results/experiments/b/x")
    ]
