# Figures, drawn by jobs of their own: a changed figure is drawn again, and nothing else runs.


rule thumbnails:
    input:
        lambda wildcards: plan.patch_inputs(wildcards.experiment),
    output:
        table=paths.experiment("thumbnails.parquet"),
        digest=paths.experiment("thumbnails.parquet.digest"),
    log:
        "logs/thumbnails/{experiment}.log",
    wildcard_constraints:
        experiment=one_of(plan.thumbnail_models),
    # The report alone waits for it, while the evaluation leaves cores idle.
    priority: -1
    group:
        cluster.group("pictures")
    conda:
        "../../envs/environment.yaml"
    resources:
        **cluster.needs(
            lambda wildcards: 500 + 30 * cluster.cells_mb(wildcards.experiment),
            lambda wildcards: 5,
        ),
        together=1,
    params:
        experiment=subpath(output.table, parent=True),
        patches=lambda wildcards: plan.patches(
            plan.thumbnail_models[wildcards.experiment]
        ),
        pictures=project.report.pictures,
        modified=lambda wildcards: plan.modified_tables(wildcards.experiment),
        code=code_digest("inference.thumbnails"),
    shell:
        "dynaclr thumbnails {params.patches} --pictures {params.pictures} --out {output.table}"
        " --experiment {params.experiment} > {log} 2>&1"


rule draw_experiment:
    input:
        [paths.experiment(f"{t}.parquet.digest") for t in ("cells", "statistics")],
        paths.experiment("summary.json"),
    output:
        tracks=paths.experiment("qc.svg"),
        intensity=paths.experiment("intensity.svg"),
    log:
        "logs/draw_experiment/{experiment}.log",
    priority: -1
    group:
        cluster.group("pictures")
    conda:
        "../../envs/environment.yaml"
    resources:
        **cluster.needs(
            lambda wildcards: 30 * cluster.cells_mb(wildcards.experiment),
            lambda wildcards: 5,
        ),
        together=1,
    params:
        folder=subpath(output.tracks, parent=True),
        code=code_digest("figures.experiment"),
    shell:
        "dynaclr figures experiment --experiment {params.folder} > {log} 2>&1"


rule draw_simulation:
    input:
        paths.experiment("simulation.json"),
    output:
        paths.experiment("simulation.png"),
    log:
        "logs/draw_simulation/{experiment}.log",
    priority: -1
    group:
        cluster.group("pictures")
    conda:
        "../../envs/environment.yaml"
    resources:
        **cluster.needs(lambda wildcards: 500, lambda wildcards: 5),
        together=1,
    params:
        entry=lambda wildcards: plan.entry(wildcards.experiment),
        code=code_digest("figures.simulation"),
    shell:
        "dynaclr figures simulation --entry {params.entry:q} --out {output} > {log} 2>&1"


rule draw_collection:
    input:
        paths.collection("index.arrow.digest"),
    output:
        paths.collection("composition.svg"),
    log:
        "logs/draw_collection/{collection}.log",
    conda:
        "../../envs/environment.yaml"
    resources:
        **cluster.needs(
            lambda wildcards: 30
            * cluster.cells_mb(*collections[wildcards.collection].experiments),
            lambda wildcards: 5,
        ),
    params:
        folder=subpath(output[0], parent=True),
        code=code_digest("figures.composition"),
    shell:
        "dynaclr figures collection --collection {params.folder} > {log} 2>&1"


rule draw_training:
    input:
        paths.seed("metrics.csv"),
        paths.seed("provenance.json"),
    output:
        paths.seed("curves.svg"),
    log:
        "logs/draw_training/{model}.seed{seed}.log",
    localrule: True
    conda:
        "../../envs/environment.yaml"
    params:
        folder=subpath(output[0], parent=True),
        code=code_digest("figures.training"),
    shell:
        "dynaclr figures training --model {params.folder} > {log} 2>&1"


rule draw_evaluation:
    input:
        [paths.evaluation(f"{table}.csv") for table in EVALUATION_TABLES],
        paths.evaluation("predictions.parquet"),
        paths.evaluation("maps.h5ad.digest"),
    output:
        paths.evaluation_figures(),
    log:
        "logs/draw_evaluation/{model}.log",
    conda:
        "../../envs/environment.yaml"
    resources:
        **cluster.needs(lambda wildcards: 1000, lambda wildcards: 10),
    params:
        folder=subpath(output[0], parent=True),
        code=code_digest("figures.evaluation"),
    shell:
        "dynaclr figures evaluation --evaluation {params.folder} > {log} 2>&1"


rule draw_comparison:
    input:
        f"{paths.comparison}/metrics.csv",
        f"{paths.comparison}/differences.csv",
    output:
        directory(f"{paths.comparison}/figures"),
    log:
        "logs/draw_comparison.log",
    localrule: True
    conda:
        "../../envs/environment.yaml"
    params:
        folder=subpath(output[0], parent=True),
        code=code_digest("figures.comparison"),
    shell:
        "dynaclr figures comparison --comparison {params.folder} > {log} 2>&1"
