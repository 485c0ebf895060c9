# Models side by side, where the configuration asks for it.


rule compare:
    input:
        lambda wildcards: [
            paths.evaluation(file, model)
            for model in project.comparison.models
            for file in (
                *("metrics.csv", "predictions.parquet", "cells.csv"),
                "resampled.parquet",
            )
        ],
    output:
        metrics=f"{paths.comparison}/metrics.csv",
        differences=f"{paths.comparison}/differences.csv",
    log:
        "logs/compare.log",
    conda:
        "../../envs/environment.yaml"
    resources:
        **cluster.needs(lambda wildcards: 1000, lambda wildcards: 20),
    params:
        plan=lambda wildcards: plan.comparison(),
        evaluations=lambda wildcards: paths.evaluations,
        out=subpath(output.metrics, parent=True),
        code=code_digest("evaluation.comparison"),
    shell:
        "dynaclr compare --plan {params.plan} --evaluations {params.evaluations}"
        " --out {params.out} > {log} 2>&1"
