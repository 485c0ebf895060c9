"""Whatever becomes of a configuration, it is sound or one message says what is wrong with it.

``DYNACLR_MUTATIONS=1000 pytest tests/unit/cli/test_mutated_configurations.py`` tries more of them.
"""

import copy
import os
import warnings

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynaclr.cli.project import check
from dynaclr.config import UserError
from dynaclr.config.errors import printable

MUTATIONS = int(os.environ.get("DYNACLR_MUTATIONS", 15))
DOCUMENTS = {
    "config": "config/config.yaml",
    "demo_a": "config/experiments/demo_a.yaml",
    "training": "config/training/demo.yaml",
}
# What people write by mistake, and what no person would.
NUMBERS = [0, -1, 1, 3, 10**6, 10**40, 0.5, -0.5, 1e-300, 1e300, float("nan"), float("inf")]
WORDS = ["", " ", "no", "3:30", "1e-5", "2024_05_07", "A/1", "demo_a", "$x^^{$", "../..", "/"]
WORDS += ["${NOT_SET}", "t > 1", "t.sum()", "x\ny", "\x1b[31m", "\u202ex", "🦠" * 50, "x" * 300]
WORDS += ["condition", "hours", "phase", "lineage", "condition == 'mok'", "os.system"]
WORDS += ["dynaclr.models.SmallEncoder", "torch.nn.Identity", "Encoder"]
SECTIONS = [[], {}, [[]], [None], ["demo_a"], ["a", "a"], [1, 2], [2.5, 1]]
SECTIONS += [{"": 1}, {"x": {"y": []}}, {"class_path": "torch.nn.ReLU"}]
VALUES = st.sampled_from([None, True, False, *NUMBERS, *WORDS, *SECTIONS])
TEXT = st.sampled_from([*"\t:[]{}\n#'\"|%@", "&a ", "*a", "- ", "? ", "!!set ", "<<: "])


def nodes(content, path=()):
    """Paths of all values of a document."""
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, dict | list) and value:
            yield from nodes(value, (*path, key))


def mutate(content, kind, number, value, key):
    """Content with one value replaced, removed, moved to another key, or written twice."""
    content = copy.deepcopy(content)
    paths = list(nodes(content))
    *parents, last = paths[number % len(paths)]
    section = content
    for parent in parents:
        section = section[parent]
    if kind == "replace":
        section[last] = value
    elif kind == "remove":
        del section[last]
    elif isinstance(section, list):
        section.append(section[last])
    else:
        section[key] = section.pop(last)
    return content


MUTATION = st.tuples(
    st.sampled_from([*DOCUMENTS, "training"]),
    st.sampled_from(["replace", "replace", "replace", "remove", "rename", "text"]),
    st.integers(0, 10**6),
    VALUES,
    st.sampled_from(["x", "name", "train", "class_path", "", "0", "condition", "init_args", "_a"]),
    TEXT,
)


@pytest.fixture(scope="module")
def documents(repository):
    """Content of the demo's files; its training is beside its project."""
    texts = {name: (repository / file).read_text() for name, file in DOCUMENTS.items()}
    found = {name: yaml.safe_load(text) for name, text in texts.items()}
    found["config"]["models"]["demo"]["training"] = "training.yaml"
    found["config"]["experiments"] = ["demo_*.yaml"]
    return found


@settings(
    max_examples=MUTATIONS,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(mutations=st.lists(MUTATION, min_size=1, max_size=2))
def test_a_mutated_configuration_is_sound_or_refused(
    documents, repository, tmp_path, monkeypatch, mutations
):
    monkeypatch.chdir(tmp_path)
    for file in (repository / "config/experiments").glob("demo_*.yaml"):
        (tmp_path / file.name).write_text(file.read_text())
    texts = {}
    for name, content in documents.items():
        for document, kind, number, value, key, _ in mutations:
            if document == name and kind != "text" and content:
                content = mutate(content, kind, number, value, key)
        texts[name] = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        for document, kind, number, _, _, text in mutations:
            if document == name and kind == "text":
                place = number % len(texts[name])
                texts[name] = texts[name][:place] + text + texts[name][place:]
        (tmp_path / f"{name}.yaml").write_text(texts[name])
    try:
        with warnings.catch_warnings(action="ignore"):
            check(tmp_path / "config.yaml")
    except UserError as error:
        message = str(error)
        assert len(message) > 20
        assert "Traceback" not in message
        assert printable(message) == message
