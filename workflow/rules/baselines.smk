# What a trained encoder must beat without any network: intensity statistics, texture and shape, and
# principal components of pixels, fitted on the training experiments.


rule fit_pixels:
    input:
        lambda wildcards: [
            file
            for name in collections[wildcards.collection].train
            for file in plan.patch_inputs(name)
        ],
    output:
        components=paths.baseline("pixels.npz"),
        digest=paths.baseline("pixels.npz.digest"),
    log:
        "logs/fit_pixels/{collection}.{patches}.log",
    conda:
        "../../envs/environment.yaml"
    resources:
        **cluster.needs(
            lambda wildcards: 1500
            + 30 * cluster.cells_mb(*collections[wildcards.collection].train),
            lambda wildcards: len(collections[wildcards.collection].train),
        ),
    params:
        patches=lambda wildcards: plan.shared_patches(
            wildcards.collection, wildcards.patches
        ),
        experiments=lambda wildcards: paths.experiments,
        names=lambda wildcards: json.dumps(collections[wildcards.collection].train),
        modified=lambda wildcards: plan.modified_tables(
            *collections[wildcards.collection].train
        ),
        code=code_digest("inference.baselines"),
    shell:
        "dynaclr baselines fit {params.patches} --experiments {params.experiments}"
        " --names {params.names:q} --out {output.components} > {log} 2>&1"


rule embed_baselines:
    input:
        lambda wildcards: plan.patch_inputs(wildcards.experiment),
        components=paths.baseline("pixels.npz.digest"),
    output:
        intensity=directory(paths.baseline("intensity/{experiment}.zarr")),
        intensity_digest=paths.baseline("intensity/{experiment}.zarr.digest"),
        texture=directory(paths.baseline("texture/{experiment}.zarr")),
        texture_digest=paths.baseline("texture/{experiment}.zarr.digest"),
        pixels=directory(paths.baseline("pixels/{experiment}.zarr")),
        pixels_digest=paths.baseline("pixels/{experiment}.zarr.digest"),
    log:
        "logs/embed_baselines/{collection}.{patches}.{experiment}.log",
    group:
        cluster.group("baselines")
    conda:
        "../../envs/environment.yaml"
    resources:
        **cluster.needs(
            lambda wildcards: 800 + 30 * cluster.cells_mb(wildcards.experiment),
            # Texture takes some 4 ms a patch and channel.
            lambda wildcards: 10 * cluster.cells_mb(wildcards.experiment),
        ),
        together=1,
    params:
        patches=lambda wildcards: plan.shared_patches(
            wildcards.collection, wildcards.patches
        ),
        experiment=lambda wildcards: paths.experiment("", wildcards.experiment),
        components=subpath(input.components, strip_suffix=".digest"),
        out=subpath(output.intensity, ancestor=2),
        modified=lambda wildcards: plan.modified_baseline(
            wildcards.collection, wildcards.patches
        )
        + plan.modified_tables(wildcards.experiment),
        code=code_digest("inference.baselines"),
    shell:
        "dynaclr baselines embed {params.patches} --experiment {params.experiment}"
        " --components {params.components} --out {params.out} > {log} 2>&1"
