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
        tables=expand(
            "results/evaluation/{{model}}/{table}.csv",
            table=(
                "metrics",
                "curves",
                "differences",
                "confusion",
                "reliability",
                "learning",
                "onsets",
            ),
        ),
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
        reliability=report(
            "results/evaluation/{model}/reliability.svg",
            category="5 Evaluation",
            subcategory="{model}",
            labels={"figure": "calibration"},
            caption="../report/reliability.rst",
        ),
        learning=report(
            "results/evaluation/{model}/learning.svg",
            category="5 Evaluation",
            subcategory="{model}",
            labels={"figure": "annotated lineages"},
            caption="../report/learning.rst",
        ),
        resolution=report(
            "results/evaluation/{model}/resolution.svg",
            category="5 Evaluation",
            subcategory="{model}",
            labels={"figure": "responses over hours"},
            caption="../report/resolution.rst",
        ),
        kinetics=report(
            "results/evaluation/{model}/kinetics.svg",
            category="5 Evaluation",
            subcategory="{model}",
            labels={"figure": "distance to control"},
            caption="../report/kinetics.rst",
        ),
        temporal=report(
            "results/evaluation/{model}/temporal.svg",
            category="5 Evaluation",
            subcategory="{model}",
            labels={"figure": "displacement over lag"},
            caption="../report/temporal.rst",
        ),
        health=report(
            "results/evaluation/{model}/health.svg",
            category="5 Evaluation",
            subcategory="{model}",
            labels={"figure": "health of the embedding"},
            caption="../report/health.rst",
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
    resources:
        **needs(
            lambda wildcards: 2000
            + 200 * cells_mb(*project.experiments_of(wildcards.model)),
            lambda wildcards: 60
            + 2 * cells_mb(*project.experiments_of(wildcards.model)),
        ),
    params:
        plan=lambda wildcards: evaluation_of(wildcards.model),
        labels=lambda wildcards: " ".join(
            source_of(name, label_fingerprint)
            for name in project.experiments_of(wildcards.model)
        ),
        code=code_digest(
            "experiments",
            "evaluation",
            without=("comparison.py", "comparison_figures.py", "uncertainty.py"),
        ),
    shell:
        "dynaclr evaluate --plan {params.plan:q} --embeddings results/embeddings/{wildcards.model}"
        " --out results/evaluation/{wildcards.model} > {log} 2>&1"
