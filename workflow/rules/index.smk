# One cell index an experiment, from the plate's metadata and the tracking tables.


rule index:
    input:
        lambda wildcards: plan.simulation(wildcards.experiment),
    output:
        cells=paths.experiment("cells.parquet"),
        digest=paths.experiment("cells.parquet.digest"),
        summary=paths.experiment("summary.json"),
    log:
        "logs/index/{experiment}.log",
    group:
        cluster.group("experiments")
    conda:
        "../../envs/environment.yaml"
    resources:
        **cluster.needs(
            lambda wildcards: 20 * cluster.tracks_mb(wildcards.experiment),
            lambda wildcards: cluster.tracks_mb(wildcards.experiment) / 50,
        ),
        together=1,
    params:
        out=subpath(output.cells, parent=True),
        entry=lambda wildcards: plan.entry(
            wildcards.experiment, "annotations", "truth", "simulation"
        ),
        tracks=lambda wildcards: plan.tracks_content(wildcards.experiment),
        plate=lambda wildcards: plan.plate_content(wildcards.experiment),
        code=code_digest("index.build"),
    shell:
        "dynaclr index --entry {params.entry:q} --out {params.out} > {log} 2>&1"
