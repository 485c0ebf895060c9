# Every model judged on held-out experiments, beside its baselines.


rule evaluate:
    input:
        lambda wildcards: embeddings_of(wildcards.model),
        lambda wildcards: [
            simulation
            for name in project.experiments_of(wildcards.model)
            if (simulation := simulation_of(name))
        ],
    output:
        metrics="results/evaluation/{model}/metrics.csv",
        differences="results/evaluation/{model}/differences.csv",
        confusions="results/evaluation/{model}/confusion.csv",
        mixing="results/evaluation/{model}/mixing.csv",
        predictions="results/evaluation/{model}/predictions.parquet",
        maps="results/evaluation/{model}/maps.h5ad",
        maps_digest="results/evaluation/{model}/maps.h5ad.digest",
        headline="results/evaluation/{model}/headline.json",
        classifiers="results/evaluation/{model}/classifiers.svg",
        roc="results/evaluation/{model}/roc.svg",
        confusion="results/evaluation/{model}/confusion.svg",
        mixing_figure="results/evaluation/{model}/mixing.svg",
        embedding="results/evaluation/{model}/embedding.png",
    log:
        "logs/evaluate/{model}.log",
    conda:
        "../../envs/environment.yaml"
    threads: 2
    params:
        plan=lambda wildcards: evaluation_of(wildcards.model),
        labels=lambda wildcards: " ".join(
            source_of(name, label_fingerprint)
            for name in project.experiments_of(wildcards.model)
        ),
        code=code_digest("experiments", "evaluation", without=("report",)),
    shell:
        "dynaclr evaluate --plan {params.plan:q} --embeddings results/embeddings/{wildcards.model}"
        " --out results/evaluation/{wildcards.model} > {log} 2>&1"
