"""Names of users are drawn as they are."""

import pytest

from dynaclr.figures.style import draw_message, figure_style


@pytest.mark.parametrize("name", ["cost $5 and $6", "a $x^^{$ b", r"$\frac{$", "50 % \\ {0}"])
def test_names_are_no_formulas(tmp_path, name):
    with figure_style():
        draw_message(name, tmp_path / "figure.svg")
    assert name in (tmp_path / "figure.svg").read_text()
