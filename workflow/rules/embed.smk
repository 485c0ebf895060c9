# Embeddings of every observation of an experiment: by each trained seed, and by baselines that a
# trained encoder must beat: the encoder that the seed started from, intensity statistics, and
# principal components of pixels, fitted on the training experiments.

# One pass over an experiment's pixels serves all seeds of a model. The files that a rule makes are
# fixed, so there is a rule for each set of seeds: in most projects all models have the same.
for seeds, name in rules_of_seeds().items():

    rule:
        name:
            name
        input:
            lambda wildcards: seed_files(
                wildcards.model, "best.ckpt.digest", "config.yaml"
            ),
            lambda wildcards: patch_sources(wildcards.experiment),
            lambda wildcards: stores_of(wildcards.model),
        output:
            stores=[directory(path) for path in embedded_by(seeds, "{experiment}.zarr")],
            digests=embedded_by(seeds, "{experiment}.zarr.digest"),
        log:
            "logs/embed/{model}.{experiment}.log",
        wildcard_constraints:
            model="|".join(
                re.escape(model) for model in models if seeds_of(model) == seeds
            ),
        group:
            in_group(
                "embeddings_{model}",
                "logs/embed/{model}.{experiment}.log",
                embedded_by(seeds, "{experiment}.zarr.digest")[0],
            )
        conda:
            "../../envs/environment.yaml"
        threads: lambda wildcards: models[wildcards.model].threads
        resources:
            **needs_for_embedding(),
        params:
            models=lambda wildcards: json.dumps(
                [
                    f"results/models/{wildcards.model}/seed{seed}"
                    for seed in seeds_of(wildcards.model)
                ]
            ),
            altered=lambda wildcards: altered_of(
                seed_files(wildcards.model, "best.ckpt")
            )
            + altered_patches(wildcards.experiment),
            threads=lambda wildcards: models[wildcards.model].threads,
            rounding=lambda wildcards: rounding_of([wildcards.experiment]),
            code=embedding_code,
        shell:
            "dynaclr embed --models {params.models:q}"
            " --experiment results/experiments/{wildcards.experiment} --threads {params.threads}"
            " --untrained true --out results/embeddings/{wildcards.model} > {log} 2>&1"


rule fit_pixels:
    input:
        lambda wildcards: [
            source
            for name in collections[wildcards.collection].train
            for source in patch_sources(name)
        ],
        stores=ancient("results/baselines/{collection}/{cut}/stores.json"),
    output:
        components="results/baselines/{collection}/{cut}/pixels.npz",
        digest="results/baselines/{collection}/{cut}/pixels.npz.digest",
    log:
        "logs/fit_pixels/{collection}.{cut}.log",
    conda:
        "../../envs/environment.yaml"
    resources:
        **needs(
            lambda wildcards: 1500
            + 30 * cells_mb(*collections[wildcards.collection].train),
            lambda wildcards: len(collections[wildcards.collection].train),
        ),
    params:
        patches=lambda wildcards: patches_of(one_sharing(wildcards)),
        names=lambda wildcards: json.dumps(collections[wildcards.collection].train),
        altered=lambda wildcards: "".join(
            map(altered_patches, collections[wildcards.collection].train)
        ),
        rounding=lambda wildcards: rounding_of(collections[wildcards.collection].train),
        code=embedding_code,
    shell:
        "dynaclr fit-pixels {params.patches} --experiments results/experiments"
        " --names {params.names:q} --out {output.components} > {log} 2>&1"


rule embed_baselines:
    input:
        lambda wildcards: patch_sources(wildcards.experiment),
        stores=ancient("results/baselines/{collection}/{cut}/stores.json"),
        components="results/baselines/{collection}/{cut}/pixels.npz.digest",
    output:
        intensity=directory(
            "results/baselines/{collection}/{cut}/intensity/{experiment}.zarr"
        ),
        intensity_digest=(
            "results/baselines/{collection}/{cut}/intensity/{experiment}.zarr.digest"
        ),
        pixels=directory(
            "results/baselines/{collection}/{cut}/pixels/{experiment}.zarr"
        ),
        pixels_digest="results/baselines/{collection}/{cut}/pixels/{experiment}.zarr.digest",
    log:
        "logs/embed_baselines/{collection}.{cut}.{experiment}.log",
    group:
        in_group(
            "baselines_{collection}_{cut}",
            "logs/embed_baselines/{collection}.{cut}.{experiment}.log",
            "results/baselines/{collection}/{cut}/intensity/{experiment}.zarr.digest",
        )
    conda:
        "../../envs/environment.yaml"
    resources:
        **needs(
            lambda wildcards: 800 + 30 * cells_mb(wildcards.experiment),
            lambda wildcards: cells_mb(wildcards.experiment),
        ),
        together=1,
    params:
        patches=lambda wildcards: patches_of(one_sharing(wildcards)),
        altered=lambda wildcards: altered_patches(wildcards.experiment)
        + altered_of(
            [f"results/baselines/{wildcards.collection}/{wildcards.cut}/pixels.npz"]
        ),
        rounding=lambda wildcards: rounding_of([wildcards.experiment]),
        code=embedding_code,
    shell:
        "dynaclr embed-baselines {params.patches} --out {output.intensity}"
        " --pixels results/baselines/{wildcards.collection}/{wildcards.cut}/pixels.npz"
        " --pixels_out {output.pixels}"
        " --experiment results/experiments/{wildcards.experiment} > {log} 2>&1"
