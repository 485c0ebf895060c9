"""What is written means what it looks like, and cannot crash a parser."""

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dynaclr.config.grammar import MOST_LEVELS, dump_yaml, parse_text

# Plain words that YAML 1.1 takes for something else, and what begins or ends like a number.
SURPRISING = st.sampled_from(
    ["3:30", "2024_05_07", "010", "no", "On", "1e5", "1e-05", "2024-05-01", "0x1F", "~", "<<", "="]
)
TEXT = st.text(st.characters(exclude_categories=("Cc", "Cs"))) | SURPRISING
SCALAR = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | TEXT
SCALAR |= st.floats(allow_nan=False)
CONTENT = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4)
)


@given(CONTENT)
def test_what_is_written_is_read_again(content):
    assert parse_text(dump_yaml(content)) == content
    for ascii_only in (True, False):
        assert parse_text(json.dumps(content, ensure_ascii=ascii_only)) == content


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("3:30", "3:30"),
        ("1:30.5", "1:30.5"),
        ("2024_05_07", "2024_05_07"),
        ("007", "007"),
        ("0x1F", "0x1F"),
        ("yes", "yes"),
        ("2024-05-01", "2024-05-01"),
        ("1e-5", 1e-5),
        ("-.5", -0.5),
        ("+12", 12),
        ("True", True),
        ("", None),
        ("{no: 1, 0: 2, 1.5: 3}", {"no": 1, "0": 2, "1.5": 3}),
        ("{a: &one {x: 1}, b: {<<: *one, x: 2}}", {"a": {"x": 1}, "b": {"x": 2}}),
        ('{"a": "\\ud83e\\udda0"}', {"a": "\U0001f9a0"}),
    ],
)
def test_plain_words_are_what_they_look_like(text, content):
    assert parse_text(text) == content


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "at line 3: the key 'a' is there twice"),
        ('{"a": 1, "a": 2}', "the key 'a' is there twice"),
        ("- {b: {c: 1, c: 2}}", "the key 'c' is there twice"),
        ("? [a]\n: 1", "a key must be text"),
        ('a: "\\e[31m"', "control character"),
        ('{"a": "\\u001b"}', "control character"),
        ('{"a": "\\ud83e"}', "control character"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("a: !!set {b}", "could not determine a constructor"),
        ("a: !!int b", "invalid literal"),
        ("a: &a [*a]", "nested in more than"),
        ("[" * 100_000, "nested in more than"),
        ("- " * 100_000, "nested in more than"),
        ('{"a":' * 3000 + "1" + "}" * 3000, "nested in more than"),
        ("a: 1\n---\nb: 2", "another document"),
        ("a: " + "9" * 5000, "Exceeds the limit"),
    ],
)
def test_what_cannot_be_meant_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse_text(text)


@pytest.mark.parametrize("pair", ["[]", "{a: }", '{"a":}'])
def test_depth_up_to_the_limit_is_read(pair):
    def nested(levels):
        return pair[:-1] * levels + "1" + pair[-1] * levels

    assert parse_text(nested(MOST_LEVELS))
    with pytest.raises(ValueError, match="nested in more than"):
        parse_text(nested(MOST_LEVELS + 1))


def test_aliases_of_aliases_do_not_grow_without_end():
    lines = ["a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [
        f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]" for a, b in zip("abcdef", "bcdefg", strict=True)
    ]
    with pytest.raises(ValueError, match="stands for more than"):
        parse_text("\n".join(lines))


@given(st.text(max_size=40) | st.text("[]{}:,-&*!?|>'\"# \nab1", max_size=40))
def test_any_text_is_read_or_refused(text):
    try:
        content = parse_text(text)
    except ValueError:
        return
    assert parse_text(dump_yaml(content)) == content or content != content


@given(CONTENT)
def test_other_readers_of_yaml_read_the_same(content):
    assert yaml.safe_load(dump_yaml(content)) == content
