# One self-contained page with every figure.


rule figures:
    input:
        experiment_files(registry, "qc.svg", "intensity.svg"),
        experiment_files(filter(simulation_of, registry), "simulation.png"),
        [f"results/collections/{name}/composition.svg" for name in collections],
        figures_of_models(),


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
        arguments=report_command,
        captions=digest_path(Path(workflow.basedir) / "workflow/report"),
    shell:
        # The inner Snakemake only reads; the lock is held by the outer one.
        "snakemake figures {params.arguments} --report {output} --nolock > {log} 2>&1"
