"""Checkpoints are whole, lie beside their digest, and hold no code; a folder has one training."""

import os
import signal
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynaclr.config import UserError
from dynaclr.io.artifacts import digest_file_of
from dynaclr.training.checkpoints import (
    CheckpointsWithDigest,
    find_resume_point,
    read_checkpoint,
)
from dynaclr.training.folder_lock import only_training_in

CONTENT = {"state_dict": {"weight": torch.arange(100.0)}, "epoch": 3}


def save(path, **content):
    CheckpointsWithDigest().save_checkpoint(CONTENT | content, path)


def flip(path, place=0.5):
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)


def test_checkpoint_comes_back_and_is_removed_with_its_digest(tmp_path):
    path = tmp_path / "last.ckpt"
    save(path)
    assert torch.equal(read_checkpoint(path)["state_dict"]["weight"], torch.arange(100.0))
    CheckpointsWithDigest().remove_checkpoint(path)
    assert not list(tmp_path.iterdir())


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 1, exclude_max=True), st.booleans())
def test_any_flipped_bit_is_noticed(tmp_path_factory, place, cut):
    path = tmp_path_factory.mktemp("damaged") / "last.ckpt"
    save(path)
    if cut:
        path.write_bytes(path.read_bytes()[: int(place * path.stat().st_size)])
    else:
        flip(path, place)
    with pytest.raises(UserError, match=r"last\.ckpt: was changed after it was made"):
        read_checkpoint(path)
    assert find_resume_point(path.parent) is None


def test_changed_weights_of_a_file_without_digest_are_noticed(tmp_path):
    path = tmp_path / "other.pt"
    torch.save({"weight": torch.ones(1000)}, path)
    flip(path)
    with pytest.raises(UserError, match=r"other\.pt: cannot be read .BadZipFile: bad CRC-32"):
        read_checkpoint(path)


class Code:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_code_in_a_checkpoint_is_refused_and_does_not_run(tmp_path):
    path = tmp_path / "attack.ckpt"
    torch.save({"state_dict": Code(tmp_path / "made")}, path)
    with pytest.raises(UserError, match=r"attack\.ckpt: is damaged, or holds more than weights"):
        read_checkpoint(path)
    assert not (tmp_path / "made").exists()
    torch.save(torch.ones(3), path)
    with pytest.raises(UserError, match="holds no dictionary but Tensor"):
        read_checkpoint(path)


def test_checkpoint_is_whole_when_its_writer_is_killed_before_the_rename(tmp_path):
    last = tmp_path / "last.ckpt"
    save(last)
    before = last.read_bytes()
    save(last, epoch=4)
    last.write_bytes(before)  # The digest is written, the checkpoint is not renamed yet.
    assert find_resume_point(tmp_path) == last


@pytest.mark.parametrize(
    ("damaged", "found"),
    [([], "last.ckpt"), (["last.ckpt"], "best.ckpt"), (["best.ckpt"], None)],
)
def test_training_goes_on_from_the_last_whole_checkpoint(tmp_path, caplog, damaged, found):
    best, last = tmp_path / "best.ckpt", tmp_path / "last.ckpt"
    save(best)
    save(last)
    for name in damaged:
        flip(tmp_path / name)
    expected = None if found is None else tmp_path / found
    assert find_resume_point(tmp_path, set_aside=False) == expected
    assert find_resume_point(tmp_path) == expected
    assert find_resume_point(tmp_path) == expected, "what was set aside is no longer considered"
    for name in damaged:
        assert not (tmp_path / name).exists()
        assert f"{name}: damaged" in caplog.text
    digest_file_of(best).write_bytes(b"\xff")
    assert find_resume_point(tmp_path) is None


def test_second_training_in_a_folder_is_refused_until_the_first_has_ended(tmp_path):
    script = f"""
import sys
from pathlib import Path
from dynaclr.training.folder_lock import only_training_in
with only_training_in(Path({str(tmp_path)!r})):
    print("locked", flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", script]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout.readline() == "locked\n"
        refused = rf"another training writes to this folder \(.*, process {first.pid}, SLURM job"
        with pytest.raises(UserError, match=refused), only_training_in(tmp_path):
            pass
        first.send_signal(signal.SIGKILL)
    with only_training_in(tmp_path):
        pass
