# Intensity statistics of one experiment's pixels, for normalization and quality control.


def pixels_of(experiment):
    """An experiment's entry as far as statistics use it; tracks and facts do not count."""
    unused = {"annotations", "truth", "simulation", "metadata"}
    unused |= {"organelle", "microscope", "cell_type", "date", "moi"}
    entry = registry[experiment].dump(exclude=unused) | {"tracks_path": "."}
    return json.dumps(entry, sort_keys=True)


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
