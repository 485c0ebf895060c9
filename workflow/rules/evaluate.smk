# Every model judged on held-out experiments, beside its baselines.


def labels_of(model):
    """Label tables of the experiments that a model is judged with, relative to here."""
    entries = {name: registry[name].dump() for name in project.experiments_of(model)}
    return {
        name: {key: entry[key] for key in ("annotations", "truth") if key in entry}
        for name, entry in entries.items()
    }


def evaluation_of(model):
    """All that `dynaclr evaluate` needs to know besides the stores, as JSON text."""
    chosen = project.evaluation
    plan = {
        "variants": variants_of(model),
        "train": project.collection_of(model).train,
        "held_out": chosen.experiments or project.collection_of(model).validation,
        "labels": labels_of(model),
        "tasks": [task.model_dump(mode="json") for task in chosen.tasks],
        "bootstrap": chosen.bootstrap,
    }
    return json.dumps(plan, sort_keys=True)


rule evaluate:
    input:
        lambda wildcards: embeddings_of(wildcards.model),
    output:
        metrics="results/evaluation/{model}/metrics.csv",
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
