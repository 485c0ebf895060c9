# Supervised ceilings, where the configuration asks for them: what the encoder of a model reaches when
# it is trained on the labels of a task. Truth of simulations is used here, and by no model.


rule fit_ceiling:
    input:
        lambda wildcards: ceilings.training_inputs(wildcards.model),
    output:
        checkpoint=paths.ceiling(),
        digest=f"{paths.ceiling()}.digest",
    log:
        "logs/fit_ceiling/{model}.{task}.log",
    wildcard_constraints:
        task=one_of(project.ceilings),
    conda:
        "../../envs/environment.yaml"
    threads: lambda wildcards: models[wildcards.model].threads
    resources:
        **cluster.ceiling(),
    params:
        training=lambda wildcards: ceilings.training(wildcards.model),
        labels=lambda wildcards: ceilings.labels(wildcards.model, wildcards.task),
        experiments=lambda wildcards: paths.experiments,
        seed=lambda wildcards: ceilings.seed(wildcards.model),
        content=lambda wildcards: ceilings.label_content(
            wildcards.model, wildcards.task
        ),
        external=lambda wildcards: plan.external_checkpoints(wildcards.model),
        modified=lambda wildcards: ceilings.modified_inputs(wildcards.model),
        threads=lambda wildcards: models[wildcards.model].threads,
        code=lambda wildcards: ceilings.codes[wildcards.model],
    shell:
        "dynaclr ceiling fit --training {params.training:q} --labels {params.labels}"
        " --experiments {params.experiments} --seed {params.seed} --threads {params.threads}"
        " --out {output.checkpoint} > {log} 2>&1"


# Its files are those of the tasks: without any there is no such rule.
if project.ceilings:

    rule embed_ceilings:
        input:
            lambda wildcards: plan.patch_inputs(wildcards.experiment),
            lambda wildcards: ceilings.starts(wildcards.model),
            checkpoints=[f"{paths.ceiling(task)}.digest" for task in project.ceilings],
        output:
            stores=[
                directory(paths.embedding(f"ceiling-{task}"))
                for task in project.ceilings
            ],
            digests=[
                f"{paths.embedding(f'ceiling-{task}')}.digest"
                for task in project.ceilings
            ],
        log:
            "logs/embed_ceilings/{model}.{experiment}.log",
        conda:
            "../../envs/environment.yaml"
        threads: lambda wildcards: models[wildcards.model].threads
        resources:
            **cluster.embedding(),
        params:
            training=lambda wildcards: ceilings.training(wildcards.model),
            checkpoints=lambda wildcards: json.dumps(
                ceilings.checkpoints(wildcards.model)
            ),
            experiment=lambda wildcards: paths.experiment("", wildcards.experiment),
            seed=lambda wildcards: ceilings.seed(wildcards.model),
            out=subpath(output[0], ancestor=2),
            modified=lambda wildcards: ceilings.modified_checkpoints(wildcards.model)
            + plan.modified_tables(wildcards.experiment),
            threads=lambda wildcards: models[wildcards.model].threads,
            code=lambda wildcards: ceilings.codes[wildcards.model],
        shell:
            "dynaclr ceiling embed --training {params.training:q}"
            " --checkpoints {params.checkpoints:q} --experiment {params.experiment}"
            " --seed {params.seed} --threads {params.threads} --out {params.out} > {log} 2>&1"
