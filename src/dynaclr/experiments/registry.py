"""The experiments of a project by name, and what is wrong with them on disk."""

from __future__ import annotations

import difflib
import glob
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from dynaclr.experiments.config import ExperimentConfig
from dynaclr.experiments.errors import Problems, UserError
from dynaclr.experiments.plate import plate_facts


class ExperimentRegistry(Mapping[str, ExperimentConfig]):
    """Experiments by name, in sorted order.

    Parameters
    ----------
    experiments : iterable of ExperimentConfig
        Validated entries with distinct names.

    Raises
    ------
    UserError
        When a name stands twice.
    """

    def __init__(self, experiments: Iterable[ExperimentConfig]) -> None:
        problems = Problems()
        by_name: dict[str, ExperimentConfig] = {}
        for experiment in experiments:
            if experiment.name in by_name:
                problems.add(
                    f"experiment {experiment.name}",
                    f"the name stands twice (data_path {by_name[experiment.name].data_path} "
                    f"and {experiment.data_path})",
                    "Give each experiment its own name",
                )
            by_name[experiment.name] = experiment
        problems.raise_if_any()
        self._by_name = dict(sorted(by_name.items()))

    def __getitem__(self, name: str) -> ExperimentConfig:
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def __repr__(self) -> str:
        return f"ExperimentRegistry({list(self)})"

    @classmethod
    def from_files(cls, *patterns: str | Path) -> ExperimentRegistry:
        """Read entries from YAML files; every fault of every file is told at once.

        Parameters
        ----------
        *patterns : str or Path
            Files or glob patterns.

        Raises
        ------
        UserError
            With all faults found.
        """
        problems = Problems()
        entries = [
            entry
            for pattern in patterns
            for path in sorted(glob.glob(str(pattern))) or [str(pattern)]
            for entry in read_entries(Path(path), problems)
        ]
        problems.raise_if_any()
        return cls(entries)

    def check(self) -> None:
        """Hold every entry against its plate, tracks and tables on disk.

        Raises
        ------
        UserError
            With all faults of all experiments.
        """
        problems = Problems()
        check_all_on_disk(self.values(), problems)
        problems.raise_if_any()


def load_entry(source: str | Path) -> ExperimentConfig:
    """Read one entry from a YAML file, or from YAML or JSON text.

    Relative paths are relative to the file, or to the working folder for text.

    Raises
    ------
    UserError
        With every fault of the entry.
    """
    problems = Problems()
    if str(source).lstrip().startswith("{"):
        content = parse_yaml(str(source), "entry", problems)
        problems.raise_if_any()
        entry = validate_entry(content, Path.cwd(), "entry", problems)
        entries = [entry] if entry else []
    else:
        entries = read_entries(Path(source), problems)
    problems.raise_if_any()
    if len(entries) != 1:
        raise UserError(f"{source}: holds {len(entries)} experiments. Give a file with one.")
    return entries[0]


def read_entries(path: Path, problems: Problems) -> list[ExperimentConfig]:
    """Read a YAML file with one entry or a list of entries, collecting faults."""
    content = read_yaml(path, problems)
    if content is None:
        return []
    items = content if isinstance(content, list) else [content]
    if not items:
        problems.add(path, "the list is empty", "Describe at least one experiment in it")
    entries = (validate_entry(item, path.parent, str(path), problems) for item in items)
    return [entry for entry in entries if entry is not None]


def read_yaml(path: Path, problems: Problems) -> Any:
    """Content of a YAML file, or None with a fault added."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        problems.add(path, "no such file", "Correct the path, or write the file")
        return None
    except IsADirectoryError:
        problems.add(path, "is a folder", f"Name a YAML file in it: {path / '*.yaml'}")
        return None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        problems.add(path, f"is no UTF-8 text at line {line}", "Save it with the encoding UTF-8")
        return None
    except OSError as error:
        problems.add(path, f"cannot be read ({error.strerror})", "Correct the path or its rights")
        return None
    faults = len(problems.found)
    content = parse_yaml(text, path, problems)
    if content is None and len(problems.found) == faults:
        problems.add(path, "the file is empty", "Fill it in, or remove it from the list")
    return content


def parse_yaml(text: str, where: object, problems: Problems) -> Any:
    """Content of YAML or JSON text, or None with a fault added."""
    try:
        return _safely_loaded(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}" if mark else ""
        problems.add(where, f"not valid YAML{place}: {getattr(error, 'problem', error)}", "Mend it")
    except ValueError as error:  # A date that is in no calendar.
        problems.add(where, f"not valid YAML: {error}", "Mend it")
    return None


def _safely_loaded(text: str) -> Any:
    """Load with libyaml, which is fast; what it refuses, the slow loader explains better."""
    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError:
        return yaml.safe_load(text)


def validate_entry(
    content: Any, base: Path, where: str, problems: Problems
) -> ExperimentConfig | None:
    """Validate one entry's content, collecting faults."""
    return validate(ExperimentConfig, content, base, where, problems)


def validate(model: Any, content: Any, base: Path, where: str, problems: Problems) -> Any:
    """Validate `content` as a pydantic model; None with readable faults when it does not fit."""
    if isinstance(content, dict) and "name" in content and model is ExperimentConfig:
        where = f"{where} (experiment {content['name']})"
    try:
        return model.model_validate(content, context={"base": base})
    except ValidationError as error:
        faults = [_readable(fault, model, where) for fault in error.errors()]
        told = " ".join(fix for _, what, fix in faults if what == "unknown key")
        for place, what, fix in faults:
            # A mistyped key is told once, not as missing too.
            if what != "missing" or repr(place.rsplit(".", 1)[-1].rsplit(" ", 1)[-1]) not in told:
                problems.add(place, what, fix)
        return None


def _readable(fault: Any, model: Any, where: str) -> tuple[str, str, str]:
    location = ".".join(str(part) for part in fault["loc"])
    place = f"{where}: {location}" if location else where
    if fault["type"] == "extra_forbidden":
        key = str(fault["loc"][-1])
        near = difflib.get_close_matches(key, _known_keys(model, fault["loc"][:-1]), n=1)
        fix = f"Did you mean {near[0]!r}?" if near else "Remove it"
        return place, "unknown key", fix
    if fault["type"] == "missing":
        return place, "missing", "Add this key"
    if fault["type"] == "value_error":
        what, _, fix = str(fault["ctx"]["error"]).partition("; ")
        return place, what, (fix[:1].upper() + fix[1:]) or "Correct it"
    if fault["type"] == "list_type" and isinstance(fault["input"], str):
        fix = f"Write it as a list: [{fault['input']}]"
        return place, f"must be a list (given: {fault['input']!r})", fix
    given = fault["input"] if not isinstance(fault["input"], dict) else "a mapping"
    message = fault["msg"][:1].lower() + fault["msg"][1:]
    return place, f"{message} (given: {given!r})", "Correct the value"


def _known_keys(model: Any, location: tuple[Any, ...]) -> list[str]:
    """Keys that are known at a place of a model, found in its JSON schema."""
    schema = model.model_json_schema()
    names = [part for part in location if isinstance(part, str)]
    keys = list(schema.get("properties", {}))
    for name in names:
        for definition in (schema, *schema.get("$defs", {}).values()):
            target = definition.get("properties", {}).get(name)
            reference = _reference(target) if target else None
            if reference:
                keys = list(schema["$defs"][reference].get("properties", {}))
    return keys


def _reference(schema: Any) -> str | None:
    if isinstance(schema, dict):
        if "$ref" in schema:
            return schema["$ref"].rsplit("/", 1)[1]
        candidates = schema.values()
    elif isinstance(schema, list):
        candidates = schema
    else:
        return None
    return next((found for found in map(_reference, candidates) if found), None)


def nearest(name: str, known: Iterable[str]) -> str:
    """Tell the known names, the nearest first where one is near."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    listed = ", ".join(known[:12]) + (" ..." if len(known) > 12 else "")
    return f"Did you mean {close[0]!r}? Known: {listed}" if close else f"Known: {listed}"


def check_all_on_disk(experiments: Iterable[ExperimentConfig], problems: Problems) -> None:
    """Hold entries against their plates and folders, collecting faults.

    Simulated experiments are left out: what is on disk, if anything, may be of an earlier entry
    and is made anew from this one.
    """
    for experiment in experiments:
        if experiment.simulation is None:
            check_on_disk(experiment, f"experiment {experiment.name}", problems)


def check_on_disk(experiment: ExperimentConfig, where: str, problems: Problems) -> None:
    """Hold one entry against its plate and folders, collecting faults."""
    _check_plate(experiment, where, problems)
    if not os.path.isdir(experiment.tracks_path):
        problems.add(
            f"{where}: tracks_path", f"{experiment.tracks_path} is no folder", "Correct the path"
        )
    for key in ("annotations", "truth"):
        path = getattr(experiment, key)
        if path is not None and not path.is_file():
            problems.add(f"{where}: {key}", f"{path} is no file", "Correct the path or remove it")


def _check_plate(experiment: ExperimentConfig, where: str, problems: Problems) -> None:
    try:
        plate = plate_facts(experiment.data_path)
    except UserError as error:
        problems.found.append(f"{where}: data_path: {error}")
        return
    for channel in experiment.channels:
        if channel.name not in plate.channels:
            problems.add(
                f"{where}: channels",
                f"the plate {experiment.data_path} has no channel {channel.name!r}",
                nearest(channel.name, plate.channels),
            )
    named = {
        "condition_wells": list(experiment.condition_of_well),
        "include_wells": experiment.include_wells or [],
        "channels.wells": [w for c in experiment.channels for w in c.wells or []],
    }
    for key, listed in named.items():
        for well in dict.fromkeys(listed):
            if well not in plate.wells:
                problems.add(
                    f"{where}: {key}", f"no well {well} on the plate", nearest(well, plate.wells)
                )
    for fov in experiment.exclude_fovs:
        if fov not in plate.fovs:
            problems.add(
                f"{where}: exclude_fovs",
                f"no field of view {fov} on the plate",
                nearest(fov, plate.fovs),
            )
