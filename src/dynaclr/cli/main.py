"""Entry point of the `dynaclr` command."""

from __future__ import annotations

import logging
import sys
import time

from dynaclr.experiments import UserError

log = logging.getLogger("dynaclr")

DESCRIPTION = """DynaCLR: one embedding of cell states from many time-lapse experiments.

Each command is a stage of the workflow. `dynaclr run` runs the workflow itself: it hands its
arguments to Snakemake, indexes first, so that an index rebuilt with the same content stops there.
"""


def main() -> None:
    """Run the command; user errors end with one message and exit code 2."""
    from jsonargparse import auto_cli

    from dynaclr.cli.commands import COMMANDS
    from dynaclr.cli.run import run_workflow

    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.INFO,
        format="%(asctime)s %(levelname).1s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
    )
    for talkative in ("matplotlib", "numba", "fsspec", "asyncio", "zarr", "PIL", "numexpr"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
    started = time.monotonic()
    if arguments[:1] == ["run"]:
        sys.exit(run_workflow(arguments[1:]))
    try:
        auto_cli(
            COMMANDS,
            args=[argument for argument in arguments if argument != "--debug"],
            as_positional=False,
            description=DESCRIPTION,
        )
    except UserError as error:
        if debug:
            raise
        print(f"dynaclr: {error}", file=sys.stderr)
        sys.exit(2)
    log.info("%s: done in %.1f s", arguments[0], time.monotonic() - started)
