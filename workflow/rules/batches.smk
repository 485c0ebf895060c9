# What a model's batches hold, before and whether or not it is trained.


rule inspect_batches:
    input:
        lambda wildcards: f"{collection_of(wildcards.model)}/index.arrow.digest",
        lambda wildcards: f"{collection_of(wildcards.model)}/registry.json",
        lambda wildcards: experiment_files(
            project.collection_of(wildcards.model).experiments,
            "statistics.parquet.digest",
        ),
        lambda wildcards: stores_of(wildcards.model),
    output:
        table="results/models/{model}/batches.csv",
        batches="results/models/{model}/batches.png",
        pairs="results/models/{model}/batch_pairs.png",
    log:
        "logs/inspect_batches/{model}.log",
    # The report alone waits for it, while the evaluation leaves cores idle.
    priority: -1
    conda:
        "../../envs/environment.yaml"
    resources:
        **needs(
            lambda wildcards: processes_mb(wildcards.model, 1, 0),
            lambda wildcards: 20,
        ),
    params:
        data=lambda wildcards: batches_of(wildcards.model),
        # A function of input is no reason to run again: what matters here is in `data`.
        training=lambda wildcards, input: training_of(wildcards.model),
        collection=lambda wildcards: collection_of(wildcards.model),
        seed=lambda wildcards: models[wildcards.model].seeds[0],
        altered=lambda wildcards: altered(
            f"{collection_of(wildcards.model)}/index.arrow"
        ),
        rounding=lambda wildcards: rounding_of(
            project.collection_of(wildcards.model).experiments
        ),
        code=[
            training_code,
            code_digest("training/inspection.py", "training/inspection_figures.py"),
        ],
    shell:
        "dynaclr inspect-batches --training {params.training:q}"
        " --collection {params.collection} --experiments results/experiments"
        " --seed {params.seed} --out results/models/{wildcards.model} > {log} 2>&1"
