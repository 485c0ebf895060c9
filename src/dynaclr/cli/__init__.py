"""The `dynaclr` command: one thin command a stage."""
