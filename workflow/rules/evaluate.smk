# Every model judged on held-out experiments, beside its baselines.

# Those that figures are drawn from.
EVALUATION_TABLES = ("metrics", "curves", "confusion", "reliability", "learning")


rule evaluate:
    input:
        lambda wildcards: plan.embedding_digests(wildcards.model),
        lambda wildcards: plan.simulations(wildcards.model),
    output:
        tables=[
            paths.evaluation(f"{table}.csv")
            for table in (*EVALUATION_TABLES, "differences", "onsets", "cells")
        ],
        predictions=paths.evaluation("predictions.parquet"),
        resampled=paths.evaluation("resampled.parquet"),
        maps=paths.evaluation("maps.h5ad"),
        maps_digest=paths.evaluation("maps.h5ad.digest"),
        headline=paths.evaluation("headline.json"),
    log:
        "logs/evaluate/{model}.log",
    conda:
        "../../envs/environment.yaml"
    # Its many small fits are slower on two threads than on one, and other jobs run beside it.
    threads: 1
    resources:
        **cluster.needs(
            lambda wildcards: 2000
            + 200 * cluster.cells_mb(*project.experiments_of(wildcards.model)),
            lambda wildcards: 60
            + 2 * cluster.cells_mb(*project.experiments_of(wildcards.model)),
        ),
    params:
        plan=lambda wildcards: plan.evaluation(wildcards.model),
        results=lambda wildcards: RESULTS,
        out=subpath(output.headline, parent=True),
        labels=lambda wildcards: plan.label_content(wildcards.model),
        code=code_digest("evaluation.evaluate"),
    shell:
        "dynaclr evaluate --plan {params.plan} --results {params.results} --out {params.out} > {log} 2>&1"
