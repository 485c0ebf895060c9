# Intensity statistics of one experiment's pixels, for normalization and quality control.


rule statistics:
    input:
        lambda wildcards: plan.simulation(wildcards.experiment),
    output:
        table=paths.experiment("statistics.parquet"),
        digest=paths.experiment("statistics.parquet.digest"),
    log:
        "logs/statistics/{experiment}.log",
    group:
        cluster.group("experiments")
    conda:
        "../../envs/environment.yaml"
    # A small plate is read sooner than a second thread is worth, and another job takes the core.
    threads: lambda wildcards: 2 if cluster.megapixels(wildcards.experiment) > 500 else 1
    resources:
        **cluster.needs(
            # Of continuous pixels a thread holds each frame and channel of a chunk once, up to 16.8
            # megapixels of it: 80 MB of 32-bit ones, 140 MB of 64-bit ones; and the chunk, stored
            # and decoded. Histograms of whole numbers need less.
            lambda wildcards: 450
            + 40 * cluster.chunk_megapixels(wildcards.experiment),
            lambda wildcards: cluster.megapixels(wildcards.experiment) / 600,
        ),
        together=1,
    params:
        out=subpath(output.table, parent=True),
        entry=lambda wildcards: plan.pixel_entry(wildcards.experiment),
        plate=lambda wildcards: plan.plate_content(wildcards.experiment),
        code=code_digest("data.statistics.compute"),
    shell:
        "dynaclr statistics --entry {params.entry:q} --threads {threads} --out {params.out}"
        " > {log} 2>&1"
