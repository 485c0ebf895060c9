# One self-contained page of all results.


def figures():
    """Every figure that the report shows, in its order."""
    made = paths.of_experiments(registry, "qc.svg", "intensity.svg")
    made += paths.of_experiments(
        filter(plan.is_simulated, registry), "simulation.png"
    )
    made += [paths.collection("composition.svg", name) for name in collections]
    for model in models:
        made += [paths.model(file, model) for file in ("batches.png", "batch_pairs.png")]
        made += [paths.seed("curves.svg", model, seed) for seed in models[model].seeds]
        made += [paths.evaluation(file, model) for file in EVALUATION_FIGURES]
    return made


def report_inputs():
    """All that the report is made from."""
    made = figures() + paths.of_experiments(registry, "summary.json")
    made += paths.of_experiments(plan.pictured_with, "thumbnails.parquet.digest")
    made += [paths.collection("manifest.json", name) for name in collections]
    for model in models:
        made += plan.of_seeds(model, "provenance.json", "metrics.csv")
        tables = ("metrics.csv", "differences.csv", "headline.json", "maps.h5ad.digest")
        made += [paths.evaluation(file, model) for file in tables]
    if project.comparison:
        made += [
            f"{paths.comparison}/{file}"
            for file in ("metrics.csv", "differences.csv", "figures")
        ]
    return made


rule report:
    input:
        report_inputs(),
    output:
        paths.report,
    log:
        "logs/report.log",
    localrule: True
    conda:
        "../../envs/environment.yaml"
    params:
        plan=lambda wildcards: plan.report(figures()),
        code=code_digest("evaluation.report.build"),
        page=digest_path(SOURCE / "dynaclr/evaluation/report/page"),
    # All trainings are on record now: what they would resume from can go.
    shell:
        "(dynaclr report --plan {params.plan} --out {output}"
        " && rm -rf results/models/*/seed*/.work) > {log} 2>&1"
