"""Settings of a cluster: partitions, account and limits."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import Field

from dynaclr.config.errors import Problems, UserError
from dynaclr.config.fields import ConfigModel
from dynaclr.config.reading import parse_yaml, read_yaml, validate

VARIABLE = "DYNACLR_SITE"


class SiteConfig(ConfigModel):
    """Where jobs go on a cluster and what every submission needs."""

    account: str | None = Field(None, description="Account that jobs are charged to.")
    partition: str | None = Field(
        None, description="Partition of jobs without GPUs; default: the cluster's own default."
    )
    gpu_partition: str | None = Field(
        None,
        description="Partition of trainings on GPUs; without it, they train on CPUs unless their "
        "configuration asks for GPUs.",
    )
    gpu_model: str | None = Field(None, description="Model of GPU to ask for, as SLURM names it.")
    cpus_per_gpu: int = Field(8, ge=1, description="CPUs beside each GPU; its loaders use them.")
    training_minutes: int = Field(
        720, ge=1, description="Time limit of one training job; a longer training is continued."
    )
    max_mb: int | None = Field(
        None,
        ge=1000,
        description="Memory of a node in megabytes: no job asks for more, however often it is "
        "tried again.",
    )
    group_above: int = Field(
        20,
        ge=0,
        description="Projects of more experiments than this do several of them in one job.",
    )
    slurm_extra: str | None = Field(None, description="More flags of sbatch, for every job.")


def load_site(file: Path, environment: Mapping[str, str] = os.environ) -> SiteConfig | None:
    """Settings of this site, or None where none are given.

    Parameters
    ----------
    file : Path
        Untracked YAML file of the clone.
    environment : mapping of str to str
        `VARIABLE` in it names another file, or holds the settings themselves: ``{account: lab}``.

    Raises
    ------
    UserError
        When the settings cannot be read, or hold an unknown key or a wrong value.
    """
    given, problems = environment.get(VARIABLE, ""), Problems()
    if given.lstrip().startswith("{"):
        where, content = VARIABLE, parse_yaml(given, VARIABLE, problems)
    elif given or file.is_file():
        where, content = given or str(file), read_yaml(Path(given or file), problems)
    else:
        return None
    site = None if problems.found else validate(SiteConfig, content, file.parent, where, problems)
    problems.raise_if_any()
    return site


def check_destination(site: SiteConfig | None, file: Path, on_gpus: Sequence[str]) -> None:
    """Refuse to submit jobs where it is not known where to.

    Parameters
    ----------
    site : SiteConfig or None
        From `load_site`.
    file : Path
        Where the settings are expected, for the message.
    on_gpus : sequence of str
        Models that train on GPUs.

    Raises
    ------
    UserError
        Without settings, or without a partition for those models.
    """
    if site is None:
        raise UserError(
            f"{file}: no such file, so it is not known where jobs go. Write at least\n"
            "    partition: NAME        # of jobs without GPUs\n"
            "    gpu_partition: NAME    # of trainings, where there are GPUs\n"
            "    account: NAME          # if your cluster wants one\n"
            f"into it, or set {VARIABLE}='{{partition: NAME, account: NAME}}'. Where a profile of "
            f"your own says all that in its default-resources, {VARIABLE}='{{}}' is enough. See "
            "config/README.md, 'On a cluster'."
        )
    if on_gpus and not site.gpu_partition:
        raise UserError(
            f"models.{', models.'.join(on_gpus)}: the training asks for GPUs (trainer.accelerator) "
            f"and neither {file} nor {VARIABLE} says where they are. Add\n"
            "    gpu_partition: NAME\n"
            "there, or set trainer.accelerator: cpu."
        )
