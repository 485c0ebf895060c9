"""Broken project configurations by name: what is changed, and what the message must say."""

import shutil
from pathlib import Path
from typing import NamedTuple

DELETED = object()
VALUES_ONCE = "Name each one once"
BOTH = "collections.both"
SMALL = "models.small"


class Broken(NamedTuple):
    """Changes of the sound project of ``conftest``, and parts of the message."""

    changes: dict[str, object]  # A function of the content gives the value.
    message: tuple[str, ...]
    training: str | bytes | None = None
    removed: str | None = None

    def apply(self, content: dict, folder: Path) -> None:
        """Break the project: content by dotted key, and files in its folder."""
        for path, value in self.changes.items():
            *parents, last = (int(key) if key.isdigit() else key for key in path.split("."))
            section = content
            for key in parents:
                section = section[key] if isinstance(key, int) else section.setdefault(key, {})
            if value is DELETED:
                del section[last]
            else:
                section[last] = value(content) if callable(value) else value
        if self.training is not None:
            text = self.training
            data = text.encode() if isinstance(text, str) else text
            (folder / "training.yaml").write_bytes(data)
        if self.removed and (folder / self.removed).is_dir():
            shutil.rmtree(folder / self.removed)
        elif self.removed:
            (folder / self.removed).unlink()


def override(key: str, value: object) -> dict[str, object]:
    return {f"{SMALL}.overrides": {key: value}}


LAST = "results/models/small/seed0/last.ckpt"
BEST = "results/models/small/seed0/best.ckpt"
BROKEN = {
    # Files
    "missing_plate": Broken(
        {}, ("one", "data_path", "no such plate", "Correct `data_path`"), removed="one.zarr"
    ),
    "missing_tracks": Broken(
        {}, ("one", "tracks_path", "is no folder", "Correct the path"), removed="one-tracks"
    ),
    "missing_training": Broken(
        {}, (f"{SMALL}.training", "is no file", "Correct it"), removed="training.yaml"
    ),
    "latin_1_training": Broken(
        {},
        ("training.yaml", "no UTF-8 text at line 2", "Save it"),
        training="model: {}\n# Größe\n".encode("latin-1"),
    ),
    "broken_training": Broken(
        {"models.again": {"collection": "both", "training": "training.yaml"}},
        ("training.yaml: not valid YAML at line 3", "Correct it"),
        training="model: {}\ndata: [a\n",
    ),
    "training_without_keys": Broken(
        {}, ("training.yaml: is no mapping", "config/README.md"), training="- model\n"
    ),
    "folder_for_file": Broken(
        {"experiments": ["one.zarr"]}, ("one.zarr: is a folder", "one.zarr/*.yaml")
    ),
    "unset_variable": Broken(
        {"experiments.0.data_path": "${DYNACLR_NOT_SET}/one.zarr"},
        ("one", "data_path", "DYNACLR_NOT_SET is not set", "Set it"),
    ),
    "remote_store": Broken(
        {"experiments.0.data_path": "s3://bucket/plate.zarr"},
        ("one", "data_path", "s3://bucket/plate.zarr is no path", "Mount the store"),
    ),
    # Entries
    "text_for_list": Broken(
        {"experiments": "experiments/*.yaml"},
        ("experiments: must be a list", "[experiments/*.yaml]"),
    ),
    "empty_list": Broken({"experiments": []}, ("experiments", "at least 1", "Correct the value")),
    "typo_in_key": Broken(
        {"experiments.0.interval_minutes": DELETED, "experiments.0.intervall_minutes": 30},
        ("one", "intervall_minutes: unknown key", "Did you mean 'interval_minutes'?"),
    ),
    "negative_interval": Broken(
        {"experiments.0.interval_minutes": -5},
        ("one", "interval_minutes", "greater than or equal to 0.01", "-5", "Correct the value"),
    ),
    "minutes_as_truth_value": Broken(
        {"experiments.0.interval_minutes": True}, ("one", "interval_minutes", "must not be true")
    ),
    "base_60": Broken(
        {"experiments.0.start_hpi": "3:30"}, ("one", "start_hpi", "valid number", "3:30")
    ),
    "endless_hours": Broken(
        {"experiments.0.start_hpi": float("inf")}, ("one", "start_hpi", "finite number", "inf")
    ),
    "number_for_text": Broken(
        {"experiments.0.cell_type": 549}, ("one", "cell_type", "string", "549", "Put it in quotes")
    ),
    "no_day": Broken(
        {"experiments.0.date": "2024_05_07"}, ("one", "date: '2024_05_07' is no day", "YYYY-MM-DD")
    ),
    "condition_without_name": Broken(
        {"experiments.0.condition_wells": {"": ["A/1"]}}, ("one", "condition_wells", "at least 1")
    ),
    "condition_hidden_in_legends": Broken(
        {"experiments.0.condition_wells": {"_mock": ["A/1"]}}, ("one", "begins with '_'", "ename")
    ),
    "two_lines_as_marker": Broken(
        {"experiments.0.channels.0.marker": "a\nb"}, ("one", "channels.0.marker", "line end")
    ),
    "list_as_fact": Broken(
        {"experiments.0.metadata": {"doses": [1, 2]}}, ("one", "metadata.doses: must be a short")
    ),
    "fact_beyond_any_column": Broken(
        {"experiments.0.metadata": {"cells": 10**40}}, ("one", "metadata.cells", "no number that")
    ),
    "same_cells_twice": Broken(
        {"experiments.2.data_path": "one.zarr", "experiments.2.tracks_path": "one-tracks"},
        ("experiment three: well A/1 of", "is in experiment one too", "Correct data_path"),
    ),
    "condition_that_means_nothing": Broken(
        {"experiments.0.condition_wells": {"unknown": ["A/1"]}},
        ("one", "condition_wells: 'unknown' means that nothing is known", "Rename it"),
    ),
    "marker_that_cannot_be_drawn": Broken(
        {
            "experiments.0.simulation": {},
            "experiments.0.pixel_size_um": 0.5,
            "experiments.0.channels.0.marker": "actin",
        },
        ("one", "marker 'actin' cannot be drawn", "Use phase, nucleus, reporter"),
    ),
    "duplicate_name": Broken(
        {"experiments": lambda content: [*content["experiments"], content["experiments"][0]]},
        ("experiment one", "is listed twice", "Give each experiment its own name"),
    ),
    "well_in_two_conditions": Broken(
        {"experiments.0.condition_wells.infected": ["A/1", "B/1"]},
        ("one", "well A/1 is listed in both", "Remove it from one"),
    ),
    "metadata_that_no_store_holds": Broken(
        {"experiments.0.metadata": {"drug/dose uM": 3}},
        ("one", "metadata", "'drug/dose uM' cannot be the name", "Rename it"),
    ),
    "metadata_named_like_a_column": Broken(
        {"experiments.0.metadata": {"hours": 3}},
        ("one", "metadata", "'hours' is a column of the index itself", "Rename it"),
    ),
    "unknown_channel": Broken(
        {"experiments.0.channels.1.name": "GPF"},
        ("one", "channels", "no channel 'GPF'", "Did you mean 'GFP'?"),
    ),
    "unknown_well": Broken(
        {"experiments.0.condition_wells.mock": ["A/2"]},
        ("one", "condition_wells", "no well 'A/2'", "Did you mean 'A/1'?"),
    ),
    # Collections
    "in_train_and_validation": Broken(
        {f"{BOTH}.validation": ["one"]}, (BOTH, "both train and validation", "Remove it from one")
    ),
    "in_train_and_held_out": Broken(
        {f"{BOTH}.held_out": ["one"]}, ("both train and held_out", "Remove it from one")
    ),
    "no_validation": Broken(
        {f"{BOTH}.validation": DELETED}, (BOTH, "no validation data", "Name experiments under")
    ),
    "two_kinds_of_validation": Broken(
        {f"{BOTH}.validation_lineage_fraction": 0.2},
        (BOTH, "both kinds of validation data", "or give a `validation_fov_fraction`"),
    ),
    "unknown_experiment": Broken(
        {f"{BOTH}.train": ["onne"]}, (f"{BOTH}.train", "'onne'", "Did you mean 'one'?")
    ),
    "trained_on_twice": Broken(
        {f"{BOTH}.train": ["one", "one"]}, (f"{BOTH}.train", "one is listed twice", VALUES_ONCE)
    ),
    "typo_in_collection_named_like_a_field": Broken(
        {"collections.train": {"trian": ["one"], "validation": ["two"]}},
        ("collections.train.trian: unknown key", "Did you mean 'train'?"),
    ),
    # Models
    "typo_in_model_named_like_a_field": Broken(
        {"models.training": {"colection": "both", "training": "training.yaml"}},
        ("models.training.colection: unknown key", "Did you mean 'collection'?"),
    ),
    "negative_seed": Broken(
        {f"{SMALL}.seeds": [0, -1]},
        (f"{SMALL}.seeds.1", "greater than or equal to 0", "-1", "Correct"),
    ),
    "too_large_seed": Broken(
        {f"{SMALL}.seeds": [2**32]}, (f"{SMALL}.seeds.0", "less than 4294967296", "Correct")
    ),
    "seed_twice": Broken(
        {f"{SMALL}.seeds": [1, 0, 1]}, (f"{SMALL}.seeds", "1 is listed twice", VALUES_ONCE)
    ),
    "override_through_number": Broken(
        override("model.learning_rate.x", 1),
        (f"{SMALL}.overrides", "model.learning_rate is 0.1", "correct"),
        training="model: {learning_rate: 0.1}\n",
    ),
    "override_through_list": Broken(
        override("data.augmentations.0.p", 1),
        (f"{SMALL}.overrides", "data.augmentations is ['flip']", "correct"),
        training="data: {augmentations: [flip]}\n",
    ),
    "override_through_nothing": Broken(
        override("trainer.max_epochs", 1),
        (f"{SMALL}.overrides", "trainer is None", "correct the key"),
        training="trainer:\n",
    ),
    "missing_checkpoint": Broken(
        override("model.encoder_checkpoint", "absent.ckpt"),
        (f"{SMALL}: encoder_checkpoint", "no checkpoint 'absent.ckpt'", "Known"),
    ),
    "last_checkpoint": Broken(
        override("model.encoder_checkpoint", LAST), (f"no checkpoint '{LAST}'", "best.ckpt'? Known")
    ),
    "model_without_collection": Broken(
        {f"{SMALL}.collection": DELETED}, (SMALL, "has no collection", "freeze it with")
    ),
    # Frozen models
    "frozen_with_seeds": Broken(
        {"models.frozen": {"pretrained": "weights.ckpt", "seeds": [1]}},
        ("models.frozen", "a frozen model has one", "Remove `seeds`"),
    ),
    "frozen_with_idle_overrides": Broken(
        {"models.frozen": {"pretrained": "weights.ckpt", "overrides": {"data.batch_size": 2}}},
        ("models.frozen", "overrides change nothing", "Remove them"),
    ),
    "frozen_from_nowhere": Broken(
        {"models.frozen": {"pretrained": "absent", "collection": "both"}},
        ("models.frozen.pretrained", "no checkpoint", "absent/best.ckpt", "a bundle"),
    ),
    "frozen_from_a_file_without_settings": Broken(
        {"models.frozen": {"pretrained": str(Path(__file__))}},
        ("models.frozen", "has no config.yaml that says how broken.py is used", "`training`"),
    ),
    "frozen_with_two_settings": Broken(
        {"models.frozen": {"pretrained": BEST, "training": "training.yaml"}},
        ("models.frozen", "results/models/small/seed0 are used", "Remove it"),
    ),
    "frozen_from_what_it_makes": Broken(
        {"models.frozen": {"pretrained": "results/models/frozen/seed0"}},
        ("models.frozen.pretrained", "is what a frozen model makes", "frozen from"),
    ),
    "frozen_without_experiments": Broken(
        {"models.frozen": {"pretrained": BEST}, "evaluation.experiments": []},
        ("models.frozen", "no experiment to embed", "evaluation.experiments"),
    ),
    "frozen_with_baselines_of_nothing": Broken(
        {"models.frozen": {"pretrained": BEST}, "evaluation.baselines": True},
        ("models.frozen", "needs experiments to fit baselines on", "`auto`"),
    ),
    # Evaluation and comparison
    "held_out_is_trained_on": Broken(
        {"evaluation.experiments": ["one"]},
        ("evaluation.experiments", "one is held out", "Remove it from one"),
    ),
    "held_out_twice": Broken(
        {"evaluation.experiments": ["three", "three"]},
        ("evaluation.experiments", "three is listed twice", VALUES_ONCE),
    ),
    "task_twice": Broken(
        {"evaluation.tasks": [{"name": "task", "label": "label"}] * 2},
        ("evaluation: tasks", "task is listed twice", VALUES_ONCE),
    ),
    "condition_without_comparison": Broken(
        {"evaluation.tasks": [{"name": "task", "label": "label", "where": "condition = 'mock'"}]},
        ("evaluation.tasks.0.where", "\"condition = 'mock'\" is no condition", "Correct it"),
    ),
    "condition_that_runs_code": Broken(
        {"evaluation.tasks": [{"name": "task", "label": "label", "where": "t.to_csv('x')"}]},
        ("evaluation.tasks.0.where", "may only compare columns", "t.to_csv('x')", "Remove it"),
    ),
    "few_shuffles": Broken(
        {"evaluation.shuffles": 29},
        ("evaluation.shuffles", "29 shuffles make no null", "30 or more, or 0 for none"),
    ),
    "control_is_no_condition": Broken(
        {"evaluation": {"control": "mok"}},
        ("evaluation.control", "no condition 'mok'", "mean 'mock'?"),
    ),
    "compared_with_itself": Broken(
        {"comparison": {"contrasts": [["small", "small"]]}},
        ("comparison.contrasts", "small is compared with itself", "Name two models"),
    ),
    "compared_metric_unknown": Broken(
        {"comparison": {"metrics": ["aurocc"]}},
        ("comparison.metrics", "no metric 'aurocc'", "Did you mean 'auroc'?"),
    ),
    "compared_model_unknown": Broken(
        {"comparison": {"contrasts": [["small", "smal"]]}},
        ("comparison.contrasts.0", "'smal'", "Did you mean 'small'?"),
    ),
}
