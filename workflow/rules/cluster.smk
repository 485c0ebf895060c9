# What jobs ask of a cluster, and where they go. Without a cluster, none of this has an effect.

from dynaclr.experiments.fingerprint import tracks_megabytes
from dynaclr.experiments.plate import plate_facts
from dynaclr.experiments.site import SiteConfig, load_site, missing_site
from snakemake.settings.types import SharedFSUsage

# Megabytes that the interpreter, its libraries and Snakemake around it need.
_BASE_MB = 2000


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
    own_profile = str(workflow.resource_settings.default_resources)
    if (
        workflow.non_local_exec
        and _given_site is None
        and "slurm_partition" not in own_profile
    ):
        stop(missing_site(_SITE_FILE))


def remember_job_age():
    """Ask once for how long SLURM remembers jobs, as long as its controller answers.

    The plugin asks before each look at the queue. Without an answer it turns to sacct, which without
    accounting never tells of an end: a controller that is down for a minute would hang the run.
    """
    plugin = sys.modules.get("snakemake_executor_plugin_slurm")
    age = plugin and plugin.get_min_job_age()
    if age is not None:
        plugin.get_min_job_age = lambda: age


if not workflow.is_main_process:
    # A job keeps its records to itself: what the main process did not see finish was not finished,
    # whoever else says so. So nothing that outlived a killed Snakemake is taken for a result.
    workflow.storage_settings.shared_fs_usage -= {SharedFSUsage.PERSISTENCE}


def needs(mb, minutes):
    """Resources of a rule: memory and time by its inputs, doubled with each attempt.

    mb and minutes are functions of the wildcards. mb comes on top of the interpreter's own.
    """
    return given(
        slurm_account=site.account,
        slurm_partition=site.partition,
        slurm_extra=site.slurm_extra,
    ) | {
        "mem_mb": lambda wildcards, attempt: grown(_BASE_MB + mb(wildcards), attempt),
        "runtime": lambda wildcards, attempt: grown(10 + minutes(wildcards), attempt),
    }


def given(**settings):
    """Settings that have a value."""
    return {name: value for name, value in settings.items() if value is not None}


def grown(amount, attempt):
    """What an attempt asks for: twice as much as the one before."""
    return int(amount * 2 ** (attempt - 1))


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


def partition_of(model):
    """Partition of jobs with a model's encoder."""
    return site.gpu_partition if on_gpus(model) else site.partition


def workers_of(model):
    """Loader processes of a model's training, for each device."""
    return settings_of(model)["data"].get("num_workers", 0)


def cpus_of(model):
    """CPUs of a training on each node: of its processes, and of those that load for them."""
    chosen = models[model].threads + workers_of(model)
    each = max(chosen, site.cpus_per_gpu) if on_gpus(model) else chosen
    return devices_of(model) * each


def training_mb(model):
    """Memory of a training on each node: the index, and each process with its cache of chunks."""
    cache_mb = settings_of(model)["data"].get("cache_mb", 256)
    processes = devices_of(model) * (1 + workers_of(model))
    index_mb = megabytes(f"{collection_of(model)}/index.arrow")
    return 2 * index_mb + processes * (2 * cache_mb + 1000)


def needs_for_training():
    """Resources of a training. Each node runs one torchrun, which starts a process for each device.

    On several nodes the job's own command starts them by srun (`mpi`), one task for each node.
    """
    several = lambda wildcards: (
        nodes_of(wildcards.model) if nodes_of(wildcards.model) > 1 else None
    )
    return needs(
        lambda wildcards: training_mb(wildcards.model), lambda wildcards: 0
    ) | {
        "runtime": site.training_minutes,
        "slurm_partition": lambda wildcards: partition_of(wildcards.model),
        "gres": lambda wildcards: gpus(wildcards.model, devices_of(wildcards.model)),
        "nodes": several,
        "tasks": several,
        "tasks_per_gpu": lambda wildcards: 0 if several(wildcards) else None,
        "mpi": lambda wildcards: "srun" if several(wildcards) else None,
    }


def needs_for_embedding():
    """Resources of embedding one experiment with one model."""
    mb = lambda wildcards: 1500 + 100 * cells_mb(wildcards.experiment)
    minutes = lambda wildcards: cells_mb(wildcards.experiment)
    return needs(mb, minutes) | {
        "slurm_partition": lambda wildcards: partition_of(wildcards.model),
        "gres": lambda wildcards: gpus(wildcards.model, 1),
        "together": 1,
    }
