# Every model judged on held-out experiments, beside its baselines: what needs fits is fitted once,
# every experiment is scored by itself, and the joins are concatenations.

# Those that figures are drawn from.
EVALUATION_TABLES = (
    *("metrics", "curves", "confusion", "reliability", "learning", "timing", "drift"),
)


rule fit_evaluation:
    input:
        lambda wildcards: judged.stores(wildcards.model, judged.fitted(wildcards.model)),
    output:
        folder=directory(paths.reference()),
        digest=f"{paths.reference()}.digest",
    log:
        "logs/fit_evaluation/{model}.log",
    wildcard_constraints:
        model=one_of(name for name in models if name not in judged.with_reference),
    conda:
        "../../envs/environment.yaml"
    # Its many small fits are slower on two threads than on one, and other jobs run beside it.
    threads: 1
    resources:
        **cluster.fits(),
    params:
        plan=lambda wildcards: judged.fit(wildcards.model),
        results=lambda wildcards: RESULTS,
        labels=lambda wildcards: judged.label_content(judged.fitted(wildcards.model)),
        code=code_digest("evaluation.fit"),
    shell:
        "dynaclr evaluation fit --plan {params.plan} --results {params.results}"
        " --out {output.folder} > {log} 2>&1"


rule take_reference:
    output:
        folder=directory(paths.reference()),
        digest=f"{paths.reference()}.digest",
    log:
        "logs/take_reference/{model}.log",
    wildcard_constraints:
        model=one_of(judged.with_reference),
    conda:
        "../../envs/environment.yaml"
    resources:
        **cluster.joins(),
    params:
        plan=lambda wildcards: judged.take(wildcards.model),
        # A function of input is no reason to run again: where the bundle lies does not matter.
        reference=lambda wildcards, input: judged.reference_option(wildcards.model),
        content=lambda wildcards: judged.reference_content(wildcards.model),
        code=code_digest("evaluation.given_reference"),
    shell:
        "dynaclr evaluation take --plan {params.plan} --reference {params.reference}"
        " --out {output.folder} > {log} 2>&1"


rule score:
    input:
        lambda wildcards: judged.stores(wildcards.model, [wildcards.experiment]),
        f"{paths.reference()}.digest",
    output:
        folder=directory(paths.scored()),
        digest=f"{paths.scored()}.digest",
    log:
        "logs/score/{model}.{experiment}.log",
    group:
        cluster.group("scores")
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        **cluster.scores(),
        together=1,
    params:
        plan=lambda wildcards: judged.score(wildcards.model, wildcards.experiment),
        results=lambda wildcards: RESULTS,
        reference=lambda wildcards: paths.reference(wildcards.model),
        labels=lambda wildcards: judged.label_content([wildcards.experiment]),
        code=code_digest("evaluation.score"),
    shell:
        "dynaclr evaluation score --plan {params.plan} --results {params.results}"
        " --reference {params.reference} --out {output.folder} > {log} 2>&1"


rule evaluate:
    input:
        f"{paths.reference()}.digest",
        lambda wildcards: judged.scores(wildcards.model),
    output:
        tables=[
            paths.evaluation(f"{table}.csv")
            for table in (*EVALUATION_TABLES, "differences", "onsets", "cells")
        ],
        predictions=paths.evaluation("predictions.parquet"),
        trajectories=paths.evaluation("trajectories.parquet"),
        resampled=paths.evaluation("resampled.parquet"),
        headline=paths.evaluation("headline.json"),
    log:
        "logs/evaluate/{model}.log",
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        **cluster.joins(),
    params:
        plan=lambda wildcards: judged.join(wildcards.model),
        out=subpath(output.headline, parent=True),
        code=code_digest("evaluation.join"),
    shell:
        "dynaclr evaluation join --plan {params.plan} --evaluation {params.out} > {log} 2>&1"


rule map_cells:
    input:
        f"{paths.reference()}.digest",
        lambda wildcards: judged.scores(wildcards.model),
    output:
        maps=paths.evaluation("maps.h5ad"),
        digest=paths.evaluation("maps.h5ad.digest"),
    log:
        "logs/map_cells/{model}.log",
    conda:
        "../../envs/environment.yaml"
    resources:
        **cluster.joins(),
    params:
        plan=lambda wildcards: judged.maps(wildcards.model),
        folder=subpath(output.maps, parent=True),
        code=code_digest("evaluation.samples"),
    shell:
        "dynaclr evaluation maps --plan {params.plan} --evaluation {params.folder} > {log} 2>&1"
