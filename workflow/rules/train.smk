# One training a model and seed; of a frozen model, a copy of what was trained elsewhere.


rule train:
    input:
        lambda wildcards: plan.training_inputs(wildcards.model),
        # Models of this project that this one starts from are trained first.
        lambda wildcards: [
            f"{path}.digest" for path in plan.upstream_checkpoints(wildcards.model)
        ],
    output:
        best=paths.seed("best.ckpt"),
        digest=paths.seed("best.ckpt.digest"),
        last=paths.seed("last.ckpt"),
        config=paths.seed("config.yaml"),
        metrics=paths.seed("metrics.csv"),
        provenance=paths.seed("provenance.json"),
    log:
        "logs/train/{model}.seed{seed}.log",
    wildcard_constraints:
        model=one_of(project.trained),
    conda:
        "../../envs/environment.yaml"
    threads: lambda wildcards: cluster.cpus(wildcards.model)
    resources:
        **cluster.training(),
    params:
        training=lambda wildcards: plan.training(wildcards.model),
        collection=lambda wildcards: plan.collection(wildcards.model),
        experiments=lambda wildcards: paths.experiments,
        out=subpath(output.best, parent=True),
        external=lambda wildcards: plan.external_checkpoints(wildcards.model),
        modified=lambda wildcards: plan.modified_starts(wildcards.model),
        threads=lambda wildcards: models[wildcards.model].threads,
        code=lambda wildcards: plan.code_of_training(wildcards.model),
    shell:
        # What a resume needs stays until the report is made: Snakemake does not count a training
        # that finished while it was dead. SLURM stops a job by SIGTERM to every process of it. This
        # shell and tee must outlive it until the training has saved itself.
        "trap : TERM; dynaclr train --training {params.training:q} --collection {params.collection}"
        " --experiments {params.experiments} --seed {wildcards.seed} --threads {params.threads}"
        " --keep-work --out {params.out} 2>&1 | (trap '' TERM; exec tee {log})"


rule freeze:
    input:
        lambda wildcards: frozen.inputs(wildcards.model),
    output:
        best=paths.seed("best.ckpt"),
        digest=paths.seed("best.ckpt.digest"),
        config=paths.seed("config.yaml"),
        provenance=paths.seed("provenance.json"),
    log:
        "logs/freeze/{model}.seed{seed}.log",
    wildcard_constraints:
        model=one_of(frozen.models),
    conda:
        "../../envs/environment.yaml"
    resources:
        **cluster.needs(lambda wildcards: 2000, lambda wildcards: 5),
    params:
        # A function of input is no reason to run again: where the weights lie does not matter.
        options=lambda wildcards, input: frozen.options(wildcards.model),
        content=lambda wildcards: frozen.content(wildcards.model),
        out=subpath(output.best, parent=True),
        code=lambda wildcards: frozen.code(wildcards.model),
    shell:
        "dynaclr freeze {params.options} --out {params.out} > {log} 2>&1"
