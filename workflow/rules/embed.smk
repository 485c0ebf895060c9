# One embedding store a model, variant and experiment. A variant is a trained seed, the untrained
# encoder that this seed started from, or intensity statistics of the same patches.


def seed_of(variant):
    """Seed whose configuration a variant uses, and how it embeds."""
    if variant == "intensity":
        return None, "intensity"
    seed, _, untrained = variant.removeprefix("seed").partition("-")
    return int(seed), untrained or "trained"


def model_folder(model, variant):
    seed, _ = seed_of(variant)
    return f"results/models/{model}/seed{models[model].seeds[0] if seed is None else seed}"


def variants_of(model):
    """The trained seeds of a model, and the baselines that they are held against."""
    trained = [f"seed{seed}" for seed in models[model].seeds]
    return [*trained, *(f"{variant}-untrained" for variant in trained), "intensity"]


def embeddings_of(model, suffix=".zarr.digest"):
    return [
        f"results/embeddings/{model}/{variant}/{experiment}{suffix}"
        for variant in variants_of(model)
        for experiment in project.experiments_of(model)
    ]


rule embed:
    input:
        lambda wildcards: model_folder(wildcards.model, wildcards.variant) + "/best.ckpt.digest",
        lambda wildcards: model_folder(wildcards.model, wildcards.variant) + "/config.yaml",
        lambda wildcards: experiment_files(
            [wildcards.experiment],
            "cells.parquet.digest",
            "summary.json",
            "statistics.parquet.digest",
        ),
    output:
        store=directory("results/embeddings/{model}/{variant}/{experiment}.zarr"),
        digest="results/embeddings/{model}/{variant}/{experiment}.zarr.digest",
    params:
        model=lambda wildcards: model_folder(wildcards.model, wildcards.variant),
        variant=lambda wildcards: seed_of(wildcards.variant)[1],
        altered=lambda wildcards: altered(
            model_folder(wildcards.model, wildcards.variant) + "/best.ckpt"
        ),
        code=code_digest("experiments", "index", "transforms", "models", "data", "training"),
    wildcard_constraints:
        variant=r"seed-?\d+(-untrained)?|intensity",
    threads: lambda wildcards: models[wildcards.model].threads
    log:
        "logs/embed/{model}.{variant}.{experiment}.log",
    conda:
        "../../envs/environment.yaml"
    shell:
        "dynaclr embed --model {params.model} --variant {params.variant} --threads {threads}"
        " --experiment results/experiments/{wildcards.experiment} --out {output.store}"
        " > {log} 2>&1"
