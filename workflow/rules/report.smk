# One self-contained page with every figure.


def print_headlines():
    """Say where the report is and how each model did."""
    print("\nReport: results/report.html", file=sys.stderr)
    for model in models:
        headline = Path(f"results/evaluation/{model}/headline.json")
        if headline.is_file():
            print(
                f"{model}: {json.loads(headline.read_text())['text']}", file=sys.stderr
            )


def report_command():
    """Snakemake's report of what this invocation made, with this invocation's configuration."""
    return shlex.join(
        ["--configfile", *(os.path.relpath(file) for file in workflow.configfiles)]
    )


rule figures:
    input:
        [f"results/experiments/{name}/qc.svg" for name in registry],
        [f"results/experiments/{name}/intensity.svg" for name in registry],
        [
            f"results/experiments/{name}/simulation.png"
            for name in registry
            if simulation_of(name)
        ],
        [f"results/collections/{name}/composition.svg" for name in collections],
        [
            f"results/models/{name}/seed{seed}/curves.svg"
            for name in models
            for seed in models[name].seeds
        ],
        [f"results/evaluation/{name}/classifiers.svg" for name in models],


rule report:
    input:
        rules.figures.input,
    output:
        "results/report.html",
    log:
        "logs/report.log",
    localrule: True
    conda:
        "../../envs/environment.yaml"
    params:
        configuration=report_command(),
    shell:
        # The inner Snakemake only reads; the lock is held by the outer one.
        "snakemake figures --snakefile {workflow.main_snakefile:q} {params.configuration}"
        " --report {output} --nolock > {log} 2>&1"
