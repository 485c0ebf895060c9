# One self-contained page of all results.


rule report:
    input:
        plan.report_inputs(),
    output:
        paths.report,
    log:
        "logs/report.log",
    localrule: True
    conda:
        "../../envs/environment.yaml"
    params:
        plan=lambda wildcards: plan.report(),
        code=code_digest("evaluation.report.build"),
        page=digest_path(SOURCE / "dynaclr/evaluation/report/page"),
    shell:
        "dynaclr report --plan {params.plan} --out {output} > {log} 2>&1"
