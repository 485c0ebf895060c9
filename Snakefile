# From OME-Zarr plates and tracking tables to one embedding of cell states and a report.
#
#   snakemake --cores all                     the demo: config/config.yaml
#   snakemake --cores all --configfile X      your own project
#   snakemake --profile slurm                 the same on a cluster

from pathlib import Path

from snakemake.utils import min_version

min_version("9.19")


# The demo unless --configfile names a project; the two are never mixed.
if not workflow.configfiles:

    configfile: "config/config.yaml"


# Used with --sdm apptainer alone; envs/dynaclr.def says how it is made.
container: str(Path(workflow.basedir) / "envs/dynaclr.sif")


include: "workflow/rules/common.smk"
include: "workflow/rules/simulate.smk"
include: "workflow/rules/index.smk"
include: "workflow/rules/labels.smk"
include: "workflow/rules/statistics.smk"
include: "workflow/rules/patches.smk"
include: "workflow/rules/merge.smk"
include: "workflow/rules/batches.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/embed.smk"
include: "workflow/rules/baselines.smk"
include: "workflow/rules/ceiling.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/comparison.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        paths.report,


onstart:
    check_cluster()


onsuccess:
    print_headlines()
