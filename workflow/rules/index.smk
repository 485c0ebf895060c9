# One cell index an experiment, from the plate's metadata and the tracking tables.


rule index:
    input:
        lambda wildcards: simulation_of(wildcards.experiment),
    output:
        cells="results/experiments/{experiment}/cells.parquet",
        digest="results/experiments/{experiment}/cells.parquet.digest",
        summary="results/experiments/{experiment}/summary.json",
        qc="results/experiments/{experiment}/qc.svg",
    log:
        "logs/index/{experiment}.log",
    group:
        in_group(
            "experiments",
            "logs/index/{experiment}.log",
            "results/experiments/{experiment}/cells.parquet.digest",
        )
    conda:
        "../../envs/environment.yaml"
    resources:
        **needs(
            lambda wildcards: 20 * tracks_mb(wildcards.experiment),
            lambda wildcards: tracks_mb(wildcards.experiment) / 50,
        ),
        together=1,
    params:
        entry=lambda wildcards: entry_of(
            wildcards.experiment, "annotations", "truth", "simulation"
        ),
        tracks=lambda wildcards: source_of(wildcards.experiment, tracks_fingerprint),
        plate=lambda wildcards: source_of(wildcards.experiment, plate_fingerprint),
        code=code_digest("experiments", "index"),
    shell:
        "dynaclr index --entry {params.entry:q} --out results/experiments/{wildcards.experiment}"
        " > {log} 2>&1"
