# One lineage index a collection.


rule merge:
    input:
        lambda wildcards: experiment_files(
            collections[wildcards.collection].experiments,
            "cells.parquet.digest",
            "summary.json",
        ),
    output:
        index="results/collections/{collection}/index.arrow",
        digest="results/collections/{collection}/index.arrow.digest",
        registry="results/collections/{collection}/registry.json",
        manifest="results/collections/{collection}/manifest.json",
        figure="results/collections/{collection}/composition.svg",
    log:
        "logs/merge/{collection}.log",
    conda:
        "../../envs/environment.yaml"
    resources:
        **needs(
            lambda wildcards: 30
            * cells_mb(*collections[wildcards.collection].experiments),
            lambda wildcards: cells_mb(*collections[wildcards.collection].experiments)
            / 50,
        ),
    params:
        options=lambda wildcards: merge_options(wildcards.collection),
        altered=lambda wildcards: "".join(
            map(
                altered,
                experiment_files(
                    collections[wildcards.collection].experiments, "cells.parquet"
                ),
            )
        ),
        code=code_digest("experiments", "index"),
    shell:
        "dynaclr merge --experiments results/experiments {params.options}"
        " --out results/collections/{wildcards.collection} > {log} 2>&1"
