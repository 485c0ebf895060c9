# What jobs ask of a cluster, and where they go. Without a cluster, none of this has an effect.

import ast
import signal
import threading

from dynaclr.cli.controller import (
    job_age,
    partitions,
    refuse_cancelling,
    refuse_forgetful,
    settings,
    wait_for_controller,
)
from dynaclr.experiments.fingerprint import tracks_megabytes
from dynaclr.experiments.plate import plate_facts
from dynaclr.experiments.resources import (
    BASE_MB,
    grown,
    loader_workers,
    training_cpus,
    training_megabytes,
)
from dynaclr.experiments.site import (
    SiteConfig,
    load_site,
    missing_gpu_partition,
    missing_site,
)
from snakemake.settings.types import SharedFSUsage

_SITE_FILE = Path(workflow.basedir) / "config/site.yaml"


def read_site():
    """The site's settings, or None; on a fault, one message and exit code 2 before any job."""
    try:
        return load_site(_SITE_FILE)
    except UserError as error:
        stop(error)


_given_site = read_site()
site = _given_site or SiteConfig()


def check_destination():
    """Stop before the first job if jobs go to a cluster and nobody said where to there."""
    if not workflow.non_local_exec or own_partition():
        return
    if _given_site is None:
        stop(missing_site(_SITE_FILE))
    homeless = [model for model in models if on_gpus(model) and not site.gpu_partition]
    if homeless:
        stop(missing_gpu_partition(_SITE_FILE, homeless))


def prepare_for_slurm():
    """Refuse a SLURM on which a run would hang, and live with one whose controller is down at times."""
    if workflow.executor_plugin.name != "slurm":
        return
    # Snakemake notes a SIGTERM and goes on.
    wait_for_controller(
        lambda: getattr(workflow.scheduler, "_user_kill", None) is not None
    )
    configuration, executor = settings(), workflow.executor_settings
    try:
        refuse_forgetful(
            configuration,
            executor.status_command,
            executor.init_seconds_before_status_checks,
            shutil.which("sacct") is not None,
        )
        used = {site.partition or own_partition()} | set(map(partition_of, models))
        if configuration.get("PreemptType") == "preempt/partition_prio":
            refuse_cancelling(partitions(), used)
    except UserError as error:
        stop(error)
    remember_job_age(job_age(configuration))
    submit_when_controller_answers(workflow.executor_plugin.executor)


def remember_job_age(age):
    """Tell the plugin once for how long SLURM remembers jobs.

    It asks before each look at the queue. Without an answer it turns to sacct, which without
    accounting never tells of an end: a controller that is down for a minute would hang the run.
    """
    if age is not None:
        sys.modules["snakemake_executor_plugin_slurm"].get_min_job_age = lambda: age


def submit_when_controller_answers(executor_class):
    """Let the plugin wait for the controller before it submits a job, which would fail otherwise."""
    run_job, cancel = executor_class.run_job, executor_class.cancel
    stopped = threading.Event()

    def run_job_later(executor, job):
        wait_for_controller(stopped.is_set)
        # What a stopped run submits after it has cancelled its jobs would be nobody's.
        if not stopped.is_set():
            run_job(executor, job)

    def cancel_all(executor):
        stopped.set()
        cancel(executor)

    executor_class.run_job, executor_class.cancel = run_job_later, cancel_all


if not workflow.is_main_process:
    # A job keeps its records to itself: what the main process did not see finish was not finished,
    # whoever else says so. So nothing that outlived a killed Snakemake is taken for a result.
    workflow.storage_settings.shared_fs_usage -= {SharedFSUsage.PERSISTENCE}
    # A training saves itself on SIGUSR1, which SLURM sends to every process of a job: this one is
    # not to die of it. (Of SIGTERM, Snakemake waits for its jobs.)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def retried(times):
    """How often a rule's jobs are tried again: by the main process, with more memory and time.

    Within a job of a cluster, each of the Snakemakes there would start it again once more.
    """
    return times if workflow.is_main_process else 0


def needs(mb, minutes, doublings=2):
    """Resources of a rule: memory and time by its inputs, doubled with each attempt.

    mb and minutes are functions of the wildcards. mb comes on top of the interpreter's own, and is
    doubled at most this often.
    """
    return given(
        slurm_account=site.account,
        slurm_partition=site.partition,
        slurm_extra=site.slurm_extra,
    ) | {
        "mem_mb": lambda wildcards, attempt: grown(
            BASE_MB + mb(wildcards), min(attempt, 1 + doublings), site.max_mb
        ),
        "runtime": lambda wildcards, attempt: grown(10 + minutes(wildcards), attempt),
    }


def given(**settings):
    """Settings that have a value."""
    return {name: value for name, value in settings.items() if value is not None}


def in_group(name, log, product):
    """Group of small jobs, by wildcards; the profile says how many of a group share a job.

    Only large projects have groups. A group fails with any of its jobs, so a job that was tried
    before and left no product runs alone: the next run gets past it.
    """

    def group(wildcards):
        if len(registry) <= site.group_above:
            return None
        tried, made = (
            os.path.exists(path.format(**wildcards)) for path in (log, product)
        )
        if workflow.is_main_process and tried and not made:
            return None
        group_id = name.format(**wildcards)
        workflow.parent_groupids[group_id] = name.split("_")[0]
        return group_id

    return group


def megabytes(*files):
    """Size of files together; those that are not made yet count nothing."""
    return sum(os.path.getsize(file) for file in files if os.path.isfile(file)) / 1e6


def tracks_mb(experiment):
    """Size of an experiment's tracking tables, in megabytes."""
    if registry[experiment].simulation:
        return 1
    return tracks_megabytes(registry[experiment])


def cells_mb(*experiments):
    """Size of cell indexes, which take some 30 bytes an observation on disk."""
    return megabytes(*experiment_files(experiments, "cells.parquet"))


def megapixels(experiment):
    """Pixels of an experiment in all, and in its largest chunk, in millions."""
    simulation = registry[experiment].simulation
    if simulation:
        return simulation.frames * simulation.height * simulation.width * 8e-6, 1
    plate = plate_facts(registry[experiment].data_path)
    return plate.megapixels, plate.chunk_megapixels


def frame_megapixels(experiment):
    """Pixels that are decoded for a frame of an experiment, all channels and planes, in millions."""
    simulation = registry[experiment].simulation
    if simulation:
        channels = len(registry[experiment].channels)
        return channels * simulation.height * simulation.width * 1e-6
    return plate_facts(registry[experiment].data_path).frame_megapixels


def trainer_of(model):
    """Arguments of a model's trainer."""
    return settings_of(model).get("trainer") or {}


def nodes_of(model):
    """Nodes that a model is trained on."""
    return int(trainer_of(model).get("num_nodes", 1))


def devices_of(model):
    """Devices that a model is trained on in each node; on a cluster, `auto` is one."""
    devices = trainer_of(model).get("devices", 1)
    if isinstance(devices, str) and "," in devices:
        devices = [number for number in devices.split(",") if number.strip()]
    if isinstance(devices, list):
        return len(devices)
    return int(devices) if str(devices).isdecimal() else 1


def on_gpus(model):
    """Whether a model is trained on GPUs: if it says so, or if it does not mind and there are any."""
    accelerator = trainer_of(model).get("accelerator", "auto")
    if accelerator == "auto":
        return site.gpu_partition is not None
    return accelerator in ("gpu", "cuda")


def gpus(model, count):
    """SLURM's name of GPUs on each node, or None for a model without."""
    if not on_gpus(model):
        return None
    return ":".join(["gpu", *filter(None, [site.gpu_model]), str(count)])


def partitions_of_encoders():
    """Partition of jobs with a model's encoder, if the site says anything of partitions."""
    if site.partition is None and site.gpu_partition is None:
        return {}
    return {"slurm_partition": lambda wildcards: partition_of(wildcards.model)}


def partition_of(model):
    """Partition of jobs with a model's encoder; what the site leaves open, its profile may say."""
    chosen = site.gpu_partition if on_gpus(model) else site.partition
    return chosen or own_partition()


def own_partition():
    """Partition of default-resources, from a site's own profile or the command line."""
    defaults = workflow.resource_settings.default_resources or {}
    chosen = defaults.get("slurm_partition")
    if chosen is None:
        return None
    try:
        # Quoted, it is an expression to Snakemake.
        return str(ast.literal_eval(chosen.raw))
    except (SyntaxError, ValueError):
        return chosen.raw


def cpus_of(model):
    """CPUs of a training on each node."""
    least = site.cpus_per_gpu if on_gpus(model) else 0
    wanted = settings_of(model)["data"].get("num_workers", 0)
    return training_cpus(devices_of(model), models[model].threads, wanted, least)


def workers_of(model):
    """Loader processes of a model's training, for each device: what `dynaclr train` starts."""
    free = loader_workers(cpus_of(model), devices_of(model), models[model].threads)
    return settings_of(model)["data"].get("num_workers", free)


def training_mb(model):
    """Memory of a training on each node."""
    return processes_mb(model, devices_of(model), workers_of(model))


def processes_mb(model, processes, workers):
    """Memory of processes that read a model's batches, each with its loaders."""
    cache_mb = settings_of(model)["data"].get("cache_mb", 256)
    index_mb = megabytes(f"{collection_of(model)}/index.arrow")
    return training_megabytes(processes, workers, cache_mb, index_mb)


def needs_for_training():
    """Resources of a training. Each node runs one torchrun, which starts a process for each device.

    On several nodes the job's own command starts them by srun (`mpi`), one task for each node.
    """
    several = lambda wildcards: (
        nodes_of(wildcards.model) if nodes_of(wildcards.model) > 1 else None
    )
    mb = lambda wildcards: training_mb(wildcards.model)
    # Most trainings that are started again are merely continued, and need no more than before.
    return (
        needs(mb, lambda wildcards: 0, doublings=1)
        | partitions_of_encoders()
        | {
            "runtime": site.training_minutes,
            "gres": lambda wildcards: gpus(
                wildcards.model, devices_of(wildcards.model)
            ),
            "nodes": several,
            "tasks": several,
            "tasks_per_gpu": lambda wildcards: 0 if several(wildcards) else None,
            "mpi": lambda wildcards: "srun" if several(wildcards) else None,
        }
    )


def needs_for_embedding():
    """Resources of embedding one experiment with all seeds of one model."""
    seeds = lambda wildcards: len(models[wildcards.model].seeds)
    # Two encoders a seed, which is less than its checkpoint: that holds the weights three times. And
    # 20 MB a seed for rows that are written together.
    mb = lambda wildcards: (
        1800
        + 100 * cells_mb(wildcards.experiment)
        + 20 * seeds(wildcards)
        + megabytes(*seed_files(wildcards.model, "best.ckpt"))
    )
    minutes = lambda wildcards: cells_mb(wildcards.experiment) * seeds(wildcards)
    return (
        needs(mb, minutes)
        | partitions_of_encoders()
        | {
            "gres": lambda wildcards: gpus(wildcards.model, 1),
            "together": 1,
        }
    )
