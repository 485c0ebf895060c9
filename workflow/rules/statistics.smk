# Intensity statistics of one experiment's pixels, for normalization and quality control.


rule statistics:
    input:
        lambda wildcards: simulation_of(wildcards.experiment),
    output:
        table="results/experiments/{experiment}/statistics.parquet",
        digest="results/experiments/{experiment}/statistics.parquet.digest",
        figure="results/experiments/{experiment}/intensity.svg",
    log:
        "logs/statistics/{experiment}.log",
    group:
        in_group(
            "experiments",
            "logs/statistics/{experiment}.log",
            "results/experiments/{experiment}/statistics.parquet.digest",
        )
    conda:
        "../../envs/environment.yaml"
    # A small plate is read sooner than a second thread is worth, and another job takes the core.
    threads: lambda wildcards: 2 if megapixels(wildcards.experiment)[0] > 500 else 1
    resources:
        **needs(
            # Beside the libraries, each thread has up to 100 MB of histograms or of pixels.
            lambda wildcards: 450 + 40 * megapixels(wildcards.experiment)[1],
            lambda wildcards: megapixels(wildcards.experiment)[0] / 600,
        ),
        together=1,
    params:
        entry=lambda wildcards: pixels_of(wildcards.experiment),
        plate=lambda wildcards: source_of(wildcards.experiment, plate_fingerprint),
        code=[
            reading_code,
            code_digest("data/statistics.py", "data/tallies.py", "data/ranks.py"),
        ],
    shell:
        "dynaclr statistics --entry {params.entry:q} --threads {threads}"
        " --out results/experiments/{wildcards.experiment} > {log} 2>&1"
