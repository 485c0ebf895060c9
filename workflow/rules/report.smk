# One self-contained page of all results.


rule report:
    input:
        report_inputs(),
    output:
        "results/report.html",
    log:
        "logs/report.log",
    localrule: True
    conda:
        "../../envs/environment.yaml"
    params:
        plan=lambda wildcards: report_plan(),
        code=code_digest("experiments", "evaluation"),
        page=digest_path(Path(workflow.basedir) / "src/dynaclr/evaluation/report/page"),
    shell:
        "dynaclr report --plan {params.plan} --out {output} > {log} 2>&1"
