# Experiments with known truth, for those entries that have a `simulation` block.


rule simulate:
    output:
        summary="results/experiments/{experiment}/simulation.json",
        overview=report(
            "results/experiments/{experiment}/simulation.png",
            category="1 Experiments",
            subcategory="{experiment}",
            labels={"figure": "what was simulated"},
            caption="../report/simulation.rst",
        ),
    log:
        "logs/simulate/{experiment}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        entry=lambda wildcards: entry_of(wildcards.experiment),
        code=code_digest("experiments", "simulation"),
    shell:
        "dynaclr simulate --entry {params.entry:q} --out results/experiments/{wildcards.experiment}"
        " > {log} 2>&1"
