# Intensity statistics of one experiment's pixels, for normalization and quality control.


rule statistics:
    input:
        lambda wildcards: simulation_of(wildcards.experiment),
    output:
        table="results/experiments/{experiment}/statistics.parquet",
        digest="results/experiments/{experiment}/statistics.parquet.digest",
        figure=report(
            "results/experiments/{experiment}/intensity.svg",
            category="1 Experiments",
            subcategory="{experiment}",
            labels={"figure": "intensity over time"},
            caption="../report/intensity.rst",
        ),
    log:
        "logs/statistics/{experiment}.log",
    conda:
        "../../envs/environment.yaml"
    threads: 2
    params:
        entry=lambda wildcards: pixels_of(wildcards.experiment),
        plate=lambda wildcards: source_of(wildcards.experiment, plate_fingerprint),
        code=code_digest("experiments", "data/arrays.py", "data/statistics.py"),
    shell:
        "dynaclr statistics --entry {params.entry:q} --threads {threads}"
        " --out results/experiments/{wildcards.experiment} > {log} 2>&1"
