"""What SLURM's controller is set to, and what of it would hang a run."""

import os

import pytest

from dynaclr.config import UserError
from dynaclr.workflow.slurm import (
    partitions,
    refuse_cancelling,
    refuse_forgetful,
    settings,
)

CONFIG = """Configuration data as of 2026-11-27T17:00:00
AccountingStorageType   = accounting_storage/none
MinJobAge               = 120 sec
PreemptType             = preempt/partition_prio
"""
PARTITIONS = """PartitionName=short Default=YES PreemptMode=OFF PriorityTier=10 State=UP
PartitionName=scavenge Default=NO PreemptMode=CANCEL PriorityTier=1 State=UP
"""


@pytest.fixture
def scontrol(tmp_path, monkeypatch):
    """A controller that says what lies in the files of its folder."""
    program = tmp_path / "scontrol"
    program.write_text(f'#!/bin/sh\ncat "{tmp_path}/$1${{2:+-$2}}" 2>/dev/null\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    (tmp_path / "show-config").write_text(CONFIG)
    (tmp_path / "show-partition").write_text(PARTITIONS)
    return tmp_path


def test_settings_are_read(scontrol):
    assert settings()["MinJobAge"] == "120 sec"
    assert settings()["PreemptType"] == "preempt/partition_prio"
    assert partitions()["scavenge"]["PreemptMode"] == "CANCEL"
    (scontrol / "show-config").unlink()
    assert settings() == {}


@pytest.mark.parametrize("age", [0, 200, 300, 86400])
def test_controller_that_remembers_jobs_long_enough_is_asked_by_squeue(age):
    refuse_forgetful({"MinJobAge": f"{age} sec"}, "squeue", 10, sacct=True)


@pytest.mark.parametrize("age", [30, 60, 120, 199])
def test_controller_that_forgets_jobs_too_soon_is_refused(age):
    forgetful = {"MinJobAge": f"{age} sec", "AccountingStorageType": "accounting_storage/none"}
    with pytest.raises(UserError, match=rf"forgets them after {age} s .* [Aa]sk .*MinJobAge=300"):
        refuse_forgetful(forgetful, "squeue", 10, sacct=True)
    accounted = forgetful | {"AccountingStorageType": "accounting_storage/slurmdbd"}
    with pytest.raises(UserError, match=r"Add `--slurm-status-command sacct`"):
        refuse_forgetful(accounted, "squeue", 10, sacct=True)
    refuse_forgetful(accounted, "sacct", 10, sacct=True)


@pytest.mark.parametrize("none", ["accounting_storage/none", "(null)"])
def test_accounts_that_are_not_kept_are_not_asked(none):
    config = {"MinJobAge": "300 sec", "AccountingStorageType": none}
    with pytest.raises(UserError, match=r"keeps no accounts.*--slurm-status-command squeue"):
        refuse_forgetful(config, "sacct", 10, sacct=True)
    # Without sacct, the plugin turns to squeue.
    refuse_forgetful(config, "sacct", 10, sacct=False)
    # With a late first look, it turns to sacct.
    with pytest.raises(UserError, match=r"keeps no accounts"):
        refuse_forgetful(config, "squeue", 120, sacct=True)


@pytest.mark.parametrize("used", [["scavenge"], ["short", "long,scavenge"]])
def test_partition_whose_preempted_jobs_are_cancelled_is_refused(scontrol, used):
    with pytest.raises(UserError, match=r"partition scavenge has PreemptMode=CANCEL"):
        refuse_cancelling(partitions(), used)


def test_partition_whose_jobs_are_never_preempted_is_used(scontrol):
    refuse_cancelling(partitions(), [None, "short"])
    (scontrol / "show-partition").write_text(PARTITIONS.replace("Mode=OFF", "Mode=CANCEL"))
    refuse_cancelling(partitions(), ["short"])


def test_partitions_without_nodes_in_common_do_not_preempt_each_other(scontrol):
    program = scontrol / "scontrol"
    names = '[ "$2" = hostnames ] && echo "$3" | tr , "\\n" && exit\n'
    program.write_text(program.read_text().replace("\n", "\n" + names, 1))
    for nodes, refused in (("n3,n4", False), ("n2,n3", True)):
        text = PARTITIONS.replace("State", "Nodes=n1,n2 State", 1)
        first, second = text.splitlines()
        text = f"{first}\n{second.replace('State', f'Nodes={nodes} State')}\n"
        (scontrol / "show-partition").write_text(text)
        if not refused:
            refuse_cancelling(partitions(), ["scavenge"])
            continue
        with pytest.raises(UserError, match="PreemptMode=CANCEL"):
            refuse_cancelling(partitions(), ["scavenge"])
