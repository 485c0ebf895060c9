# One lineage index a collection.


rule merge:
    input:
        lambda wildcards: paths.of_experiments(
            collections[wildcards.collection].experiments,
            "cells.parquet.digest",
            "summary.json",
        ),
    output:
        index=paths.collection("index.arrow"),
        digest=paths.collection("index.arrow.digest"),
        registry=paths.collection("registry.json"),
        manifest=paths.collection("manifest.json"),
    log:
        "logs/merge/{collection}.log",
    conda:
        "../../envs/environment.yaml"
    resources:
        **cluster.needs(
            lambda wildcards: 30
            * cluster.cells_mb(*collections[wildcards.collection].experiments),
            lambda wildcards: cluster.cells_mb(
                *collections[wildcards.collection].experiments
            )
            / 50,
        ),
    params:
        experiments=lambda wildcards: paths.experiments,
        out=subpath(output.index, parent=True),
        split=lambda wildcards: plan.split(wildcards.collection),
        modified=lambda wildcards: plan.modified_cells(wildcards.collection),
        code=code_digest("index.merge"),
    shell:
        "dynaclr merge --experiments {params.experiments} {params.split} --out {params.out}"
        " > {log} 2>&1"
