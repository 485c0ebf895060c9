"""Registry of experiments by name, and reading of their entries from YAML."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dynaclr.config.errors import Problems, UserError
from dynaclr.config.experiment import ExperimentConfig
from dynaclr.config.reading import parse_yaml, read_yaml, validate


class ExperimentRegistry(Mapping[str, ExperimentConfig]):
    """Experiments by name, in sorted order: ``ExperimentRegistry(map(load_entry, files))``.

    Parameters
    ----------
    experiments : iterable of ExperimentConfig
        Validated entries with distinct names.

    Raises
    ------
    UserError
        When a name is listed twice.
    """

    def __init__(self, experiments: Iterable[ExperimentConfig]) -> None:
        problems = Problems()
        by_name: dict[str, ExperimentConfig] = {}
        for experiment in experiments:
            if experiment.name in by_name:
                problems.add(
                    f"experiment {experiment.name}",
                    f"the name is listed twice (data_path {by_name[experiment.name].data_path} "
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


def load_entry(source: str | Path) -> ExperimentConfig:
    """Read one entry from a YAML file, or from YAML or JSON text.

    Relative paths are relative to the file, or to the working folder for text.

    Raises
    ------
    UserError
        With every error of the entry.
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
    """Read a YAML file with one entry or a list of entries, collecting errors."""
    content = read_yaml(path, problems)
    if content is None:
        return []
    items = content if isinstance(content, list) else [content]
    if not items:
        problems.add(path, "the list is empty", "Describe at least one experiment in it")
    entries = (validate_entry(item, path.parent, str(path), problems) for item in items)
    return [entry for entry in entries if entry is not None]


def validate_entry(
    content: Any, base: Path, where: str, problems: Problems
) -> ExperimentConfig | None:
    """Validate one entry's content, collecting errors; None when there are some."""
    if isinstance(content, dict) and "name" in content:
        where = f"{where} (experiment {content['name']})"
    return validate(ExperimentConfig, content, base, where, problems)
