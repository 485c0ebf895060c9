# Models side by side, where the configuration asks for it.


rule compare:
    input:
        lambda wildcards: [
            f"results/evaluation/{model}/{file}"
            for model in project.comparison.models
            for file in (
                "metrics.csv",
                "predictions.parquet",
                "cells.csv",
                "resampled.parquet",
            )
        ],
    output:
        metrics="results/comparison/metrics.csv",
        differences="results/comparison/differences.csv",
        figures=directory("results/comparison/figures"),
    log:
        "logs/compare.log",
    conda:
        "../../envs/environment.yaml"
    resources:
        **needs(lambda wildcards: 1000, lambda wildcards: 20),
    params:
        plan=lambda wildcards: comparison_plan(),
        code=code_digest("experiments", "evaluation"),
    shell:
        "dynaclr compare --plan {params.plan} --evaluations results/evaluation"
        " --out results/comparison > {log} 2>&1"
