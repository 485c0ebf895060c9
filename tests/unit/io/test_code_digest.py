"""The code of a result: modules that a stage imports, and nothing that cannot change it."""

import sys
from pathlib import Path

import pytest

from dynaclr.config import UserError
from dynaclr.io import code_digest as code

MODULES = {
    "__init__": 'import lazy_loader\nlazy_loader.attach("", submod_attrs={"room": ["Part"]})\n',
    "stage": "from dynaclr import Part\nfrom dynaclr.room.other import helper\n",
    "lazy": "def run():\n    from dynaclr.room import Part\n",
    "typed": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import dynaclr.alone\n",
    "alone": "import json\nLIMIT = 3\n",
    "room.__init__": "from dynaclr.room.part import Part\nfrom .unused import Unused\n",
    "room.part": "from .other import helper\nclass Part: pass\n",
    "room.other": "def helper():\n    return 1\n",
    "room.unused": "class Unused: pass\n",
    "stubbed.__init__": "import lazy_loader\nlazy_loader.attach_stub(__name__, __file__)\n",
    "stubbed.part": "class Other: pass\n",
    "user": "from dynaclr.stubbed import Other\n",
}
STUB = 'from .part import Other\n\n__all__ = ["Other"]\n'


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small package in place of this one; returns its folder."""
    folder = tmp_path / "dynaclr"
    for name, text in MODULES.items():
        write(folder / f"{name.replace('.', '/')}.py", text)
    write(folder / "stubbed/__init__.pyi", STUB)
    monkeypatch.setattr(code, "_PACKAGE", folder)
    forget()
    yield folder
    forget()


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def forget() -> None:
    """What was read of modules; a process reads each once."""
    for cached in (code._module_of, code._file_of, code._own_source, code._read_module):
        cached.cache_clear()


def digest(*entries: str, **options) -> str:
    forget()
    return code.code_digest(*entries, **options)


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        ("stage", {"stage", "room.part", "room.other"}),
        ("lazy", {"lazy", "room.part", "room.other"}),
        ("typed", {"typed"}),
        ("alone", {"alone"}),
        ("user", {"user", "stubbed.part"}),
    ],
)
def test_modules_are_found_by_following_imports(package, entry, found):
    assert set(code.code_of(entry)) == {f"dynaclr.{name}" for name in found}


def test_only_code_counts(package):
    plain = digest("alone")
    module = package / "alone.py"
    module.write_text('"""Doc."""\n\nimport json  # why\n\nLIMIT = 3\n')
    assert digest("alone") == plain
    module.write_text("import json\nLIMIT = 4\n")
    assert digest("alone") != plain


def test_help_texts_do_not_count(package):
    module = package / "alone.py"
    module.write_text('class Site:\n    account: str = Field("x", description="An account.")\n')
    before = digest("alone")
    module.write_text('class Site:\n    account: str = Field("x", description="Who pays.")\n')
    assert digest("alone") == before
    module.write_text('class Site:\n    account: str = Field("y", description="Who pays.")\n')
    assert digest("alone") != before


def test_a_change_counts_for_all_that_import_it_and_for_no_others(package):
    before = {entry: digest(entry) for entry in ("stage", "lazy", "alone")}
    (package / "room/other.py").write_text("def helper():\n    return 2\n")
    after = {entry: digest(entry) for entry in before}
    assert [entry for entry in before if after[entry] != before[entry]] == ["stage", "lazy"]
    (package / "room/unused.py").write_text("class Unused: size = 1\n")
    assert {entry: digest(entry) for entry in before} == after


def test_classes_of_a_configuration_count(package, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "project")])
    own = tmp_path / "project/encoders/mine.py"
    write(own.with_name("__init__.py"), "")
    write(own, "from encoders.blocks import Block\nimport torch\nclass Encoder: pass\n")
    write(own.with_name("blocks.py"), "class Block: pass\n")
    config = {
        "model": {"encoder": {"class_path": "encoders.mine.Encoder"}},
        "trainer": {
            "callbacks": [{"class_path": "dynaclr.room.Part"}],
            "logger": "torch.nn.Linear",
        },
        "data": {"path": "phase.tif", "size": [24, 24]},
    }
    forget()
    assert set(code.code_of("alone", config=config)) == {
        *("dynaclr.alone", "dynaclr.room.part", "dynaclr.room.other"),
        *("encoders.mine", "encoders.blocks"),
    }
    before = digest("alone", config=config)
    own.with_name("blocks.py").write_text("class Block: size = 2\n")
    assert digest("alone", config=config) != before
    assert digest("alone") == digest("alone", config={"model": "no_such_module.Encoder"})


def test_a_package_of_the_user_needs_no_init_file(package, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "project")])
    own = tmp_path / "project/nets/mine.py"
    write(own, "from .blocks import Block\n")
    write(own.with_name("blocks.py"), "class Block: pass\n")
    config = {"class_path": "nets.mine.Encoder"}
    assert set(code.code_of(config=config)) == {"nets.mine", "nets.blocks"}


def test_a_class_of_a_known_kind_is_found_by_its_bare_name(package):
    write(package / "losses/__init__.py", "from dynaclr.losses.margin import Margin\n")
    write(package / "losses/margin.py", "class Margin: pass\n")
    config = {"loss": {"class_path": "Margin"}, "callbacks": [{"class_path": "Timer"}]}
    assert set(code.code_of(config=config)) == {"dynaclr.losses.margin"}


def test_a_module_that_python_cannot_read_is_named(package):
    (package / "alone.py").write_text("def broken(:\n")
    with pytest.raises(UserError, match=r"alone\.py, line 1: .*Correct it"):
        code.code_of("alone")


@pytest.mark.parametrize(
    ("stub", "message"), [(None, r"__init__\.pyi: no such file"), ("from (\n", r"pyi, line 1: ")]
)
def test_a_stub_that_cannot_be_read_is_named(package, stub, message):
    file = package / "stubbed/__init__.pyi"
    file.unlink()
    if stub is not None:
        file.write_text(stub)
    with pytest.raises(UserError, match=message):
        code.code_of("user")


def test_a_module_that_is_not_there_is_an_error(package):
    with pytest.raises(UserError, match=r"dynaclr\.nothing: no such module"):
        code.code_of("nothing")
