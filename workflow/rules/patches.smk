# Patches of an experiment's cells laid out for training, where its entry asks for it.
#
# Readers wait for a file of their model that names its stores, whatever its age: a store that is
# turned on or off is then no reason to run them again, as long as its pixels are those of the plate.


rule patches:
    input:
        lambda wildcards: patch_sources(wildcards.experiment),
    output:
        store=directory("results/experiments/{experiment}/patches.zarr"),
        report="results/experiments/{experiment}/patches.json",
    log:
        "logs/patches/{experiment}.log",
    wildcard_constraints:
        experiment="|".join(map(re.escape, filter(is_stored, registry))) or "(?!)",
    # What a killed run has stored stays for the next try.
    retries: retried(1)
    conda:
        "../../envs/environment.yaml"
    threads: 2
    resources:
        # Each of the threads keeps two frames decoded, of up to 4 bytes a pixel, and decodes some
        # more; what crops take beside them does not grow with their size.
        **needs(
            lambda wildcards: 500
            + 20 * frame_megapixels(wildcards.experiment)
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


rule stores:
    input:
        lambda wildcards: experiment_files(stored_of(wildcards.model), "patches.json"),
    output:
        "results/models/{model}/stores.json",
    log:
        "logs/stores/{model}.log",
    localrule: True
    conda:
        "../../envs/environment.yaml"
    params:
        stored=lambda wildcards: json.dumps(stored_of(wildcards.model)),
        without=lambda wildcards: stored_of(wildcards.model, stored=False),
    shell:
        "(for name in {params.without}; do rm -rf results/experiments/$name/patches.json"
        " results/experiments/$name/patches.zarr results/experiments/$name/.patches.zarr.*; done;"
        " echo {params.stored:q} > {output}) > {log} 2>&1"


# Baselines that models share wait for stores of their own kind, whichever models those are.
use rule stores as stores_of_baselines with:
    input:
        lambda wildcards: experiment_files(
            stored_of(one_sharing(wildcards)), "patches.json"
        ),
    output:
        "results/baselines/{collection}/{cut}/stores.json",
    log:
        "logs/stores/{collection}.{cut}.log",
    # This is not inherited.
    localrule: True
    params:
        stored=lambda wildcards: json.dumps(stored_of(one_sharing(wildcards))),
        without=lambda wildcards: stored_of(one_sharing(wildcards), stored=False),
