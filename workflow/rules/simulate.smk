# Experiments with known truth, for those entries that have a `simulation` block.


rule simulate:
    output:
        summary="results/experiments/{experiment}/simulation.json",
        overview="results/experiments/{experiment}/simulation.png",
    log:
        "logs/simulate/{experiment}.log",
    group:
        in_group(
            "experiments",
            "logs/simulate/{experiment}.log",
            "results/experiments/{experiment}/simulation.json",
        )
    conda:
        "../../envs/environment.yaml"
    resources:
        **needs(
            lambda wildcards: 500,
            lambda wildcards: megapixels(wildcards.experiment)[0] / 10,
        ),
        together=1,
    params:
        entry=lambda wildcards: entry_of(wildcards.experiment),
        code=code_digest("experiments", "simulation"),
    shell:
        "dynaclr simulate --entry {params.entry:q} --out results/experiments/{wildcards.experiment}"
        " > {log} 2>&1"
