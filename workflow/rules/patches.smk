# Where an experiment's patches are read from: a patch store, if its entry asks for one, or its plate.
#
# Readers wait for pixels.txt, which says what pixels they get. Those of a store of native pixels are
# the plate's, so that a store which is turned on or off leaves it as it was.


rule patches:
    input:
        lambda wildcards: plan.store_inputs(wildcards.experiment),
    output:
        pixels=paths.experiment("pixels.txt"),
        store=directory(paths.experiment("patches.zarr")),
        report=paths.experiment("patches.json"),
    log:
        "logs/patches/{experiment}.log",
    wildcard_constraints:
        experiment=one_of(plan.with_store()),
    conda:
        "../../envs/environment.yaml"
    threads: 2
    resources:
        # Each of the threads keeps two frames decoded, of up to 4 bytes a pixel, and decodes some
        # more; what crops take beside them does not grow with their size.
        **cluster.needs(
            lambda wildcards: 500
            + 20 * cluster.frame_megapixels(wildcards.experiment)
            + 30 * cluster.cells_mb(wildcards.experiment),
            lambda wildcards: cluster.megapixels(wildcards.experiment) / 300,
        ),
    params:
        folder=subpath(output.pixels, parent=True),
        entry=lambda wildcards: plan.store_entry(wildcards.experiment),
        trainings=lambda wildcards: json.dumps(
            {"trainings": plan.patch_specs[wildcards.experiment]}, sort_keys=True
        ),
        pixels=lambda wildcards: registry[wildcards.experiment].patch_store.dtype,
        modified=lambda wildcards: plan.modified_tables(wildcards.experiment),
        plate=lambda wildcards: plan.plate_content(wildcards.experiment),
        code=code_digest("data.patch_store.builder"),
    shell:
        "(dynaclr patches --entry {params.entry:q} --trainings {params.trainings:q}"
        " --experiment {params.folder} --threads {threads}"
        " && echo {params.pixels} > {output.pixels}) > {log} 2>&1"


rule plate_alone:
    output:
        pixels=paths.experiment("pixels.txt"),
    log:
        "logs/plate_alone/{experiment}.log",
    wildcard_constraints:
        experiment=one_of(plan.without_store()),
    localrule: True
    conda:
        "../../envs/environment.yaml"
    params:
        folder=subpath(output.pixels, parent=True),
        pixels=NATIVE,
    shell:
        "(rm -rf {params.folder}/patches.zarr {params.folder}/patches.json"
        " {params.folder}/.patches.zarr.* && echo {params.pixels} > {output.pixels}) > {log} 2>&1"
