# Embeddings of every observation of an experiment: by each seed of a model, and by the encoder that it
# started from.

# One pass over an experiment's pixels serves all seeds of a model. The files that a rule makes are
# fixed, so there is a rule for each set of encoders: in most projects all models have the same.
for encoders, name in plan.embedding_rules().items():

    rule:
        name:
            name
        input:
            lambda wildcards: plan.of_seeds(
                wildcards.model, "best.ckpt.digest", "config.yaml"
            ),
            lambda wildcards: plan.patch_inputs(wildcards.experiment),
        output:
            stores=[directory(paths.embedding(encoder)) for encoder in encoders],
            digests=[f"{paths.embedding(encoder)}.digest" for encoder in encoders],
        log:
            "logs/embed/{model}.{experiment}.log",
        wildcard_constraints:
            model=one_of(model for model in models if plan.encoders(model) == encoders),
        conda:
            "../../envs/environment.yaml"
        threads: lambda wildcards: models[wildcards.model].threads
        resources:
            **cluster.embedding(),
        params:
            models=lambda wildcards: json.dumps(plan.of_seeds(wildcards.model, "")),
            experiment=lambda wildcards: paths.experiment("", wildcards.experiment),
            out=subpath(output[0], ancestor=2),
            modified=lambda wildcards: plan.modified_checkpoints(wildcards.model)
            + plan.modified_tables(wildcards.experiment),
            untrained=lambda wildcards: json.dumps(
                project.has_untrained(wildcards.model)
            ),
            threads=lambda wildcards: models[wildcards.model].threads,
            code=lambda wildcards: plan.codes_of_embedding[wildcards.model],
        shell:
            "dynaclr embed --models {params.models:q} --experiment {params.experiment}"
            " --threads {params.threads} --untrained {params.untrained} --out {params.out} > {log} 2>&1"
