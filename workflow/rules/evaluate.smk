# Every model judged on held-out experiments, beside its baselines.


rule evaluate:
    input:
        lambda wildcards: embeddings_of(wildcards.model),
        lambda wildcards: [
            simulation
            for name in project.experiments_of(wildcards.model)
            if (simulation := simulation_of(name))
        ],
    output:
        tables=expand(
            "results/evaluation/{{model}}/{table}.csv",
            table=(
                "metrics",
                "curves",
                "differences",
                "confusion",
                "reliability",
                "learning",
                "onsets",
                "cells",
            ),
        ),
        predictions="results/evaluation/{model}/predictions.parquet",
        resampled="results/evaluation/{model}/resampled.parquet",
        maps="results/evaluation/{model}/maps.h5ad",
        maps_digest="results/evaluation/{model}/maps.h5ad.digest",
        headline="results/evaluation/{model}/headline.json",
        figures=expand(
            "results/evaluation/{{model}}/{figure}", figure=EVALUATION_FIGURES
        ),
    log:
        "logs/evaluate/{model}.log",
    conda:
        "../../envs/environment.yaml"
    # Its many small fits are slower on two threads than on one, and other jobs run beside it.
    threads: 1
    resources:
        **needs(
            lambda wildcards: 2000
            + 200 * cells_mb(*project.experiments_of(wildcards.model)),
            lambda wildcards: 60
            + 2 * cells_mb(*project.experiments_of(wildcards.model)),
        ),
    params:
        plan=lambda wildcards: evaluation_of(wildcards.model),
        labels=lambda wildcards: " ".join(
            source_of(name, label_fingerprint)
            for name in project.experiments_of(wildcards.model)
        ),
        code=code_digest(
            "experiments",
            "evaluation",
            without=(
                "comparison.py",
                "comparison_figures.py",
                "uncertainty.py",
                "report",
            ),
        ),
    shell:
        "dynaclr evaluate --plan {params.plan} --results results"
        " --out results/evaluation/{wildcards.model} > {log} 2>&1"
