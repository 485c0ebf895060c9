# Labels that a person has given, a file for each column that some training uses. The index does not hold
# them: what is made from it without a column stays when its labels change.


rule labels:
    input:
        lambda wildcards: plan.simulation(wildcards.experiment),
        cells=paths.experiment("cells.parquet.digest"),
    output:
        labels=paths.experiment("labels/{column}.parquet"),
        digest=paths.experiment("labels/{column}.parquet.digest"),
    log:
        "logs/labels/{experiment}.{column}.log",
    conda:
        "../../envs/environment.yaml"
    resources:
        **cluster.needs(
            lambda wildcards: 30 * cluster.cells_mb(wildcards.experiment),
            lambda wildcards: cluster.cells_mb(wildcards.experiment) / 50,
        ),
    params:
        folder=subpath(output.labels, ancestor=2),
        columns=lambda wildcards: json.dumps([wildcards.column]),
        entry=lambda wildcards: plan.entry(wildcards.experiment, "truth", "simulation"),
        annotations=lambda wildcards: label_fingerprint(
            registry[wildcards.experiment], {"annotations": [wildcards.column]}
        ),
        code=code_digest("index.labels"),
    shell:
        "dynaclr labels --entry {params.entry:q} --experiment {params.folder}"
        " --columns {params.columns:q} > {log:q} 2>&1"
