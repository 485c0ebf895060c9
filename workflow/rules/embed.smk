# Embeddings of every observation of an experiment: by each trained seed, and by two baselines that a
# trained encoder must beat: the encoder that the seed started from, and intensity statistics.


rule embed:
    input:
        lambda wildcards: model_files(
            wildcards.model, wildcards.seed, "best.ckpt.digest", "config.yaml"
        ),
        lambda wildcards: patch_sources(wildcards.experiment),
    output:
        trained=directory("results/embeddings/{model}/seed{seed}/{experiment}.zarr"),
        trained_digest="results/embeddings/{model}/seed{seed}/{experiment}.zarr.digest",
        untrained=directory(
            "results/embeddings/{model}/seed{seed}-untrained/{experiment}.zarr"
        ),
        untrained_digest=(
            "results/embeddings/{model}/seed{seed}-untrained/{experiment}.zarr.digest"
        ),
    log:
        "logs/embed/{model}.seed{seed}.{experiment}.log",
    conda:
        "../../envs/environment.yaml"
    threads: lambda wildcards: models[wildcards.model].threads
    params:
        altered=lambda wildcards: altered_of(
            model_files(wildcards.model, wildcards.seed, "best.ckpt")
        )
        + altered_patches(wildcards.experiment),
        threads=lambda wildcards: models[wildcards.model].threads,
        code=embedding_code,
    shell:
        "dynaclr embed --model results/models/{wildcards.model}/seed{wildcards.seed}"
        " --experiment results/experiments/{wildcards.experiment} --threads {params.threads}"
        " --out {output.trained} --untrained {output.untrained} > {log} 2>&1"


rule embed_intensity:
    input:
        lambda wildcards: patch_sources(wildcards.experiment),
    output:
        store=directory("results/embeddings/{model}/intensity/{experiment}.zarr"),
        digest="results/embeddings/{model}/intensity/{experiment}.zarr.digest",
    log:
        "logs/embed/{model}.intensity.{experiment}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        patches=lambda wildcards: patches_of(wildcards.model),
        altered=lambda wildcards: altered_patches(wildcards.experiment),
        code=embedding_code,
    shell:
        "dynaclr embed-intensity {params.patches} --out {output.store}"
        " --experiment results/experiments/{wildcards.experiment} > {log} 2>&1"
