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
        code=code_digest("report.build"),
        page=digest_path(SOURCE / "dynaclr/report/page"),
    # All trainings are on record now: what they would resume from can go.
    shell:
        "(dynaclr report --plan {params.plan} --out {output}"
        " && rm -rf results/models/*/seed*/.work) > {log} 2>&1"
