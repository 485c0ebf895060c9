"""Messages are for people, on terminals that obey what is printed to them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynaclr.config.errors import Problems, UserError, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mred", "a\\x1b[31mred"),
        ("bell\x07 and \x9b2J", "bell\\x07 and \\x9b2J"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("half \ud83e", "half \\ud83e"),
        ("two\nlines\tof 10 µm, 名前 🦠", "two\nlines\tof 10 µm, 名前 🦠"),
    ],
)
def test_control_characters_are_written_out(text, shown):
    assert printable(text) == shown
    assert str(UserError(text)) == shown
    problems = Problems()
    problems.add(text, "is wrong", "Correct it")
    with pytest.raises(UserError) as caught:
        problems.raise_if_any()
    assert str(caught.value) == f"{shown}: is wrong. Correct it"


@given(st.text(st.characters()))
def test_what_is_printable_stays_so(text):
    shown = printable(text)
    assert printable(shown) == shown
    shown.encode()
    assert "\x1b" not in shown
