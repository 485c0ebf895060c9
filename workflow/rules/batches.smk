# What a model's batches hold, before and whether or not it is trained.


rule inspect_batches:
    input:
        lambda wildcards: plan.training_inputs(wildcards.model),
    output:
        table=paths.model("batches.csv"),
        batches=paths.model("batches.png"),
        pairs=paths.model("batch_pairs.png"),
    log:
        "logs/inspect_batches/{model}.log",
    # The report alone waits for it, while the evaluation leaves cores idle.
    priority: -1
    conda:
        "../../envs/environment.yaml"
    resources:
        **cluster.needs(
            lambda wildcards: cluster.processes_mb(wildcards.model, 1, 0),
            lambda wildcards: 20,
        ),
    params:
        batches=lambda wildcards: plan.batches(wildcards.model),
        # A function of input is no reason to run again: what matters here is in `batches`.
        training=lambda wildcards, input: plan.training(wildcards.model),
        collection=lambda wildcards: plan.collection(wildcards.model),
        experiments=lambda wildcards: paths.experiments,
        out=subpath(output.table, parent=True),
        seed=lambda wildcards: models[wildcards.model].seeds[0],
        modified=lambda wildcards: plan.modified_index(wildcards.model),
        code=lambda wildcards: plan.code_of_batches(wildcards.model),
    shell:
        "dynaclr inspect-batches --training {params.training:q}"
        " --collection {params.collection} --experiments {params.experiments}"
        " --seed {params.seed} --out {params.out} > {log} 2>&1"
