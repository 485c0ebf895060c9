"""What the figures are drawn from: the command that draws, and what it wrote."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from dynaclr.cli.main import main


@pytest.fixture
def command(monkeypatch) -> Callable[..., None]:
    """Run `dynaclr figures` in this process."""
    monkeypatch.setattr("dynaclr.cli.main.look_for_garbage_seldom", lambda: None)

    def run(*arguments: object) -> None:
        monkeypatch.setattr("sys.argv", ["dynaclr", "figures", *map(str, arguments)])
        main()

    return run


@pytest.fixture
def texts() -> Callable[[Path], str]:
    """All words of an SVG file, line by line."""

    def read(path: Path) -> str:
        return "\n".join(re.findall(r">([^<>\n]+)</(?:text|tspan)>", path.read_text()))

    return read
