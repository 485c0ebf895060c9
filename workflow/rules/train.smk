# One training a model and seed.


rule train:
    input:
        lambda wildcards: f"{collection_of(wildcards.model)}/index.arrow.digest",
        lambda wildcards: f"{collection_of(wildcards.model)}/registry.json",
        lambda wildcards: experiment_files(
            project.collection_of(wildcards.model).experiments,
            "statistics.parquet.digest",
        ),
        lambda wildcards: stores_of(wildcards.model),
        # Models of this project that this one starts from are trained first.
        lambda wildcards: [f"{path}.digest" for path in teachers_of(wildcards.model)],
    output:
        best="results/models/{model}/seed{seed}/best.ckpt",
        digest="results/models/{model}/seed{seed}/best.ckpt.digest",
        last="results/models/{model}/seed{seed}/last.ckpt",
        config="results/models/{model}/seed{seed}/config.yaml",
        metrics="results/models/{model}/seed{seed}/metrics.csv",
        provenance="results/models/{model}/seed{seed}/provenance.json",
        curves="results/models/{model}/seed{seed}/curves.svg",
    log:
        "logs/train/{model}.seed{seed}.log",
    # A training that a scheduler stops saves itself first; started again, it goes on from there.
    retries: retried(3)
    conda:
        "../../envs/environment.yaml"
    threads: lambda wildcards: cpus_of(wildcards.model)
    resources:
        **needs_for_training(),
    params:
        training=lambda wildcards: training_of(wildcards.model),
        collection=lambda wildcards: collection_of(wildcards.model),
        starts=lambda wildcards: foreign_starts_of(wildcards.model),
        altered=lambda wildcards: altered_of(
            [f"{collection_of(wildcards.model)}/index.arrow"],
            teachers_of(wildcards.model),
        ),
        threads=lambda wildcards: models[wildcards.model].threads,
        rounding=lambda wildcards: rounding_of(
            project.collection_of(wildcards.model).experiments
        ),
        code=training_code,
    shell:
        # What a resume needs is kept until the whole run has succeeded: Snakemake forgets a training
        # that finished while it was dead. The signals that stop a job reach every process of it: this
        # shell must live until the training has saved itself, or SLURM takes the job for ended, and
        # tee to write down what the training says.
        "trap : TERM USR1; dynaclr train --training {params.training:q} --collection {params.collection}"
        " --experiments results/experiments --seed {wildcards.seed} --threads {params.threads}"
        " --keep_work true --out results/models/{wildcards.model}/seed{wildcards.seed}"
        " 2>&1 | (trap '' TERM USR1; exec tee {log})"
