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
        headline="results/evaluation/{model}/headline.json",
        classifiers=report(
            "results/evaluation/{model}/classifiers.svg",
            category="5 Evaluation",
            subcategory="{model}",
            labels={"figure": "classifiers and baselines"},
            caption="../report/classifiers.rst",
        ),
        roc=report(
            "results/evaluation/{model}/roc.svg",
            category="5 Evaluation",
            subcategory="{model}",
            labels={"figure": "ROC curves"},
            caption="../report/roc.rst",
        ),
        confusion=report(
            "results/evaluation/{model}/confusion.svg",
            category="5 Evaluation",
            subcategory="{model}",
            labels={"figure": "confusion matrices"},
            caption="../report/confusion.rst",
        ),
        mixing_figure=report(
            "results/evaluation/{model}/mixing.svg",
            category="5 Evaluation",
            subcategory="{model}",
            labels={"figure": "mixing of experiments"},
            caption="../report/mixing.rst",
        ),
        embedding=report(
            "results/evaluation/{model}/embedding.png",
            category="4 Embeddings",
            subcategory="{model}",
            labels={"figure": "PCA and UMAP"},
            caption="../report/embedding.rst",
        ),
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
        code=code_digest("experiments", "evaluation"),
    shell:
        "dynaclr evaluate --plan {params.plan:q} --embeddings results/embeddings/{wildcards.model}"
        " --out results/evaluation/{wildcards.model} > {log} 2>&1"
