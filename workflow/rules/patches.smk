# Patches of an experiment's cells laid out for training, where its entry asks for it.


rule patches:
    input:
        lambda wildcards: patch_sources(wildcards.experiment),
    output:
        store=directory("results/experiments/{experiment}/patches.zarr"),
        report="results/experiments/{experiment}/patches.json",
    log:
        "logs/patches/{experiment}.log",
    # What a killed run has stored stays for the next try.
    retries: retried(1)
    conda:
        "../../envs/environment.yaml"
    threads: 2
    resources:
        **needs(
            lambda wildcards: 500
            + 40 * megapixels(wildcards.experiment)[1]
            + 30 * cells_mb(wildcards.experiment),
            lambda wildcards: megapixels(wildcards.experiment)[0] / 300,
        ),
    params:
        entry=lambda wildcards: stored_entry_of(wildcards.experiment),
        trainings=lambda wildcards: json.dumps(
            {"trainings": cuts_of(wildcards.experiment)}, sort_keys=True
        ),
        altered=lambda wildcards: altered_patches(wildcards.experiment),
        plate=lambda wildcards: source_of(wildcards.experiment, plate_fingerprint),
        code=storing_code,
    shell:
        "dynaclr patches --entry {params.entry:q} --trainings {params.trainings:q}"
        " --experiment results/experiments/{wildcards.experiment} --threads {threads}"
        " > {log} 2>&1"
