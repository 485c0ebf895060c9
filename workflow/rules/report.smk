# One self-contained page with every figure.


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
        snakefile=os.path.relpath(workflow.main_snakefile),
        configuration=report_command(),
    shell:
        # The inner Snakemake only reads; the lock is held by the outer one.
        "snakemake figures --snakefile {params.snakefile:q} {params.configuration}"
        " --report {output} --nolock > {log} 2>&1"
