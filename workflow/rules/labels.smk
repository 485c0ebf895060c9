# Labels that a person has given, as columns beside an experiment's index. The index does not hold them:
# what is made from it without labels, embeddings above all, stays when labels change.


rule labels:
    input:
        lambda wildcards: plan.simulation(wildcards.experiment),
        cells=paths.experiment("cells.parquet.digest"),
    output:
        labels=paths.experiment("labels.parquet"),
        digest=paths.experiment("labels.parquet.digest"),
    log:
        "logs/labels/{experiment}.log",
    conda:
        "../../envs/environment.yaml"
    resources:
        **cluster.needs(
            lambda wildcards: 30 * cluster.cells_mb(wildcards.experiment),
            lambda wildcards: cluster.cells_mb(wildcards.experiment) / 50,
        ),
    params:
        folder=subpath(output.labels, parent=True),
        entry=lambda wildcards: plan.labels_entry(wildcards.experiment),
        annotations=lambda wildcards: plan.annotations_content(wildcards.experiment),
        code=code_digest("index.labels"),
    shell:
        "dynaclr labels --entry {params.entry:q} --experiment {params.folder} > {log} 2>&1"
