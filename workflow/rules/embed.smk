# Embeddings of every observation of an experiment: by each trained seed, and by two baselines that a
# trained encoder must beat: the encoder that the seed started from, and intensity statistics.


embedding_code = code_digest(
    "experiments", "index", "transforms", "models", "data", "training"
)


rule embed:
    input:
        lambda wildcards: embedding_inputs(
            wildcards.model, wildcards.seed, wildcards.experiment
        ),
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
        altered=lambda wildcards: altered(
            f"results/models/{wildcards.model}/seed{wildcards.seed}/best.ckpt"
        ),
        code=embedding_code,
    shell:
        "dynaclr embed --model results/models/{wildcards.model}/seed{wildcards.seed}"
        " --experiment results/experiments/{wildcards.experiment} --threads {threads}"
        " --trained {output.trained} --untrained {output.untrained} > {log} 2>&1"


rule embed_intensity:
    input:
        lambda wildcards: embedding_inputs(
            wildcards.model, models[wildcards.model].seeds[0], wildcards.experiment
        ),
    output:
        store=directory("results/embeddings/{model}/intensity/{experiment}.zarr"),
        digest="results/embeddings/{model}/intensity/{experiment}.zarr.digest",
    log:
        "logs/embed/{model}.intensity.{experiment}.log",
    conda:
        "../../envs/environment.yaml"
    threads: lambda wildcards: models[wildcards.model].threads
    params:
        seed=lambda wildcards: models[wildcards.model].seeds[0],
        code=embedding_code,
    shell:
        "dynaclr embed --model results/models/{wildcards.model}/seed{params.seed}"
        " --experiment results/experiments/{wildcards.experiment} --threads {threads}"
        " --intensity {output.store} > {log} 2>&1"
