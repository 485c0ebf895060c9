"""`python -m dynaclr` is the `dynaclr` command."""

from dynaclr.cli.main import main

if __name__ == "__main__":
    main()
