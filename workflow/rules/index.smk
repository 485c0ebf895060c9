# One cell index an experiment, from the plate's metadata and the tracking tables.


rule index:
    input:
        lambda wildcards: simulation_of(wildcards.experiment),
    output:
        cells="results/experiments/{experiment}/cells.parquet",
        digest="results/experiments/{experiment}/cells.parquet.digest",
        summary="results/experiments/{experiment}/summary.json",
        qc=report(
            "results/experiments/{experiment}/qc.svg",
            category="1 Experiments",
            subcategory="{experiment}",
            labels={"figure": "tracks: quality control"},
            caption="../report/qc.rst",
        ),
    log:
        "logs/index/{experiment}.log",
    conda:
        "../../envs/environment.yaml"
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
