# Small pictures of an experiment's cells, as the encoder of the first model sees them.


rule thumbnails:
    input:
        lambda wildcards: patch_sources(wildcards.experiment),
        lambda wildcards: stores_of(pictured_with()[wildcards.experiment]),
    output:
        table="results/experiments/{experiment}/thumbnails.parquet",
        digest="results/experiments/{experiment}/thumbnails.parquet.digest",
    log:
        "logs/thumbnails/{experiment}.log",
    # The report alone waits for it, while the evaluation leaves cores idle.
    priority: -1
    group:
        in_group(
            "baselines_thumbnails",
            "logs/thumbnails/{experiment}.log",
            "results/experiments/{experiment}/thumbnails.parquet.digest",
        )
    conda:
        "../../envs/environment.yaml"
    resources:
        **needs(
            lambda wildcards: 500 + 30 * cells_mb(wildcards.experiment),
            lambda wildcards: 5,
        ),
        together=1,
    params:
        patches=lambda wildcards: patches_of(pictured_with()[wildcards.experiment]),
        cells=project.report.pictures,
        altered=lambda wildcards: altered_patches(wildcards.experiment),
        rounding=lambda wildcards: rounding_of([wildcards.experiment]),
        code=[
            embedding_code,
            code_digest("training/thumbnails.py", "experiments/selection.py"),
        ],
    shell:
        "dynaclr thumbnails {params.patches} --cells {params.cells} --out {output.table}"
        " --experiment results/experiments/{wildcards.experiment} > {log} 2>&1"
