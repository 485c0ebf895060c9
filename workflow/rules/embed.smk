# Embeddings of every observation of an experiment: by each trained seed, and by baselines that a
# trained encoder must beat: the encoder that the seed started from, intensity statistics, and
# principal components of pixels, fitted on the training experiments.


rule embed:
    input:
        lambda wildcards: model_files(
            wildcards.model, wildcards.seed, "best.ckpt.digest", "config.yaml"
        ),
        lambda wildcards: patch_sources(wildcards.experiment),
        lambda wildcards: stores_of(wildcards.model),
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
    group:
        in_group(
            "embeddings_{model}_{seed}",
            "logs/embed/{model}.seed{seed}.{experiment}.log",
            "results/embeddings/{model}/seed{seed}/{experiment}.zarr.digest",
        )
    conda:
        "../../envs/environment.yaml"
    threads: lambda wildcards: models[wildcards.model].threads
    resources:
        **needs_for_embedding(),
    params:
        altered=lambda wildcards: altered_of(
            model_files(wildcards.model, wildcards.seed, "best.ckpt")
        )
        + altered_patches(wildcards.experiment),
        threads=lambda wildcards: models[wildcards.model].threads,
        rounding=lambda wildcards: rounding_of([wildcards.experiment]),
        code=embedding_code,
    shell:
        "dynaclr embed --model results/models/{wildcards.model}/seed{wildcards.seed}"
        " --experiment results/experiments/{wildcards.experiment} --threads {params.threads}"
        " --out {output.trained} --untrained {output.untrained} > {log} 2>&1"


rule fit_pixels:
    input:
        lambda wildcards: [
            source
            for name in project.collection_of(wildcards.model).train
            for source in patch_sources(name)
        ],
        lambda wildcards: stores_of(wildcards.model),
    output:
        components="results/models/{model}/pixels.npz",
        digest="results/models/{model}/pixels.npz.digest",
    log:
        "logs/fit_pixels/{model}.log",
    conda:
        "../../envs/environment.yaml"
    resources:
        **needs(
            lambda wildcards: 1500
            + 30 * cells_mb(*project.collection_of(wildcards.model).train),
            lambda wildcards: len(project.collection_of(wildcards.model).train),
        ),
    params:
        patches=lambda wildcards: patches_of(wildcards.model),
        names=lambda wildcards: json.dumps(project.collection_of(wildcards.model).train),
        altered=lambda wildcards: "".join(
            map(altered_patches, project.collection_of(wildcards.model).train)
        ),
        rounding=lambda wildcards: rounding_of(
            project.collection_of(wildcards.model).train
        ),
        code=embedding_code,
    shell:
        "dynaclr fit-pixels {params.patches} --experiments results/experiments"
        " --names {params.names:q} --out {output.components} > {log} 2>&1"


rule embed_baselines:
    input:
        lambda wildcards: patch_sources(wildcards.experiment),
        lambda wildcards: stores_of(wildcards.model),
        components="results/models/{model}/pixels.npz.digest",
    output:
        intensity=directory("results/embeddings/{model}/intensity/{experiment}.zarr"),
        intensity_digest="results/embeddings/{model}/intensity/{experiment}.zarr.digest",
        pixels=directory("results/embeddings/{model}/pixels/{experiment}.zarr"),
        pixels_digest="results/embeddings/{model}/pixels/{experiment}.zarr.digest",
    log:
        "logs/embed/{model}.baselines.{experiment}.log",
    group:
        in_group(
            "baselines_{model}",
            "logs/embed/{model}.baselines.{experiment}.log",
            "results/embeddings/{model}/intensity/{experiment}.zarr.digest",
        )
    conda:
        "../../envs/environment.yaml"
    resources:
        **needs(
            lambda wildcards: 500 + 30 * cells_mb(wildcards.experiment),
            lambda wildcards: cells_mb(wildcards.experiment),
        ),
        together=1,
    params:
        patches=lambda wildcards: patches_of(wildcards.model),
        altered=lambda wildcards: altered_patches(wildcards.experiment)
        + altered_of([f"results/models/{wildcards.model}/pixels.npz"]),
        rounding=lambda wildcards: rounding_of([wildcards.experiment]),
        code=embedding_code,
    shell:
        "dynaclr embed-baselines {params.patches} --out {output.intensity}"
        " --pixels results/models/{wildcards.model}/pixels.npz --pixels_out {output.pixels}"
        " --experiment results/experiments/{wildcards.experiment} > {log} 2>&1"
