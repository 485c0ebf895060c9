"""What SLURM's controller is set to, and what of it would hang a run."""

import os

import pytest

from dynaclr.config import UserError
from dynaclr.workflow.slurm import (
    check_job_records,
    check_preemption,
    controller_settings,
    partitions,
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
    assert controller_settings()["MinJobAge"] == "120 sec"
    assert controller_settings()["PreemptType"] == "preempt/partition_prio"
    assert partitions()["scavenge"]["PreemptMode"] == "CANCEL"
    (scontrol / "show-config").unlink()
    assert controller_settings() == {}


@pytest.mark.parametrize("age", [0, 200, 300, 86400])
def test_controller_that_keeps_records_of_jobs_long_enough_is_asked_by_squeue(age):
    check_job_records({"MinJobAge": f"{age} sec"}, "squeue")


@pytest.mark.parametrize("age", [30, 60, 120, 199])
def test_controller_that_forgets_jobs_too_soon_is_refused(age):
    forgetful = {"MinJobAge": f"{age} sec", "AccountingStorageType": "accounting_storage/none"}
    with pytest.raises(UserError, match=rf"forgets them after {age} s .* [Aa]sk .*MinJobAge=300"):
        check_job_records(forgetful, "squeue")
    accounted = forgetful | {"AccountingStorageType": "accounting_storage/slurmdbd"}
    with pytest.raises(UserError, match=r"Add `--slurm-status-command sacct`"):
        check_job_records(accounted, "squeue")
    check_job_records(accounted, "sacct")


@pytest.mark.parametrize("none", ["accounting_storage/none", "(null)"])
def test_accounts_that_are_not_kept_are_not_asked(none):
    config = {"MinJobAge": "300 sec", "AccountingStorageType": none}
    with pytest.raises(UserError, match=r"keeps no accounts.*--slurm-status-command squeue"):
        check_job_records(config, "sacct")


@pytest.mark.parametrize("used", [["scavenge"], ["short", "long,scavenge"]])
def test_partition_whose_preempted_jobs_are_cancelled_is_refused(scontrol, used):
    with pytest.raises(UserError, match=r"partition scavenge has PreemptMode=CANCEL"):
        check_preemption(partitions(), used)


def test_partition_whose_jobs_are_never_preempted_is_used(scontrol):
    check_preemption(partitions(), [None, "short"])
    (scontrol / "show-partition").write_text(PARTITIONS.replace("Mode=OFF", "Mode=CANCEL"))
    check_preemption(partitions(), ["short"])


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
            check_preemption(partitions(), ["scavenge"])
            continue
        with pytest.raises(UserError, match="PreemptMode=CANCEL"):
            check_preemption(partitions(), ["scavenge"])
