# Experiments with known truth, for those entries that have a `simulation` block.


rule simulate:
    output:
        paths.experiment("simulation.json"),
    log:
        "logs/simulate/{experiment}.log",
    group:
        cluster.group("experiments")
    conda:
        "../../envs/environment.yaml"
    resources:
        **cluster.needs(
            lambda wildcards: 500,
            lambda wildcards: cluster.megapixels(wildcards.experiment) / 10,
        ),
        together=1,
    params:
        out=subpath(output[0], parent=True),
        entry=lambda wildcards: plan.entry(wildcards.experiment),
        code=code_digest("simulation.simulate"),
    shell:
        "dynaclr simulate --entry {params.entry:q} --out {params.out} > {log} 2>&1"
