"""Entry point of the `dynaclr` command."""

from __future__ import annotations

import logging
import sys
import time

from dynaclr.cli.garbage import look_for_garbage_seldom
from dynaclr.config import UserError

log = logging.getLogger("dynaclr")

DESCRIPTION = """DynaCLR: one embedding of cell states from many time-lapse experiments.

Each command is a stage of the workflow. `dynaclr run` runs the workflow itself: it hands its
arguments to Snakemake, indexes first, so that an index rebuilt with the same content stops there.
`dynaclr unlock`, with the same arguments, clears up after a Snakemake that was killed.

`dynaclr fit`, `validate` and `predict` are Lightning's own command line on a training configuration
(-c); `dynaclr fit --help` lists its arguments, `--print_config` all keys with their defaults.
"""


def main() -> None:
    """Run the command; user errors end with one message and exit code 2."""
    look_for_garbage_seldom()
    from jsonargparse import auto_cli

    from dynaclr.cli.commands import COMMANDS, TRAINER_COMMANDS, trainer
    from dynaclr.cli.run import COMMANDS as WORKFLOW_COMMANDS

    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.INFO,
        format="%(asctime)s %(levelname).1s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
    )
    for talkative in ("matplotlib", "numba", "fsspec", "asyncio", "zarr", "PIL", "numexpr"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
    # `dynaclr info PATH` reads better than the flag that the other commands would have.
    if arguments[:1] == ["info"] and len(arguments) == 2 and not arguments[1].startswith("-"):
        arguments.insert(1, "--path")
    started = time.monotonic()
    try:
        if arguments[:1] and arguments[0] in WORKFLOW_COMMANDS:
            sys.exit(WORKFLOW_COMMANDS[arguments[0]](arguments[1:]))
        arguments = [argument for argument in arguments if argument != "--debug"]
        # As it is everywhere else; the parser's own `--dry_run` wants a value.
        arguments = ["--dry_run=true" if a == "--dry-run" else a for a in arguments]
        if arguments[:1] and arguments[0] in TRAINER_COMMANDS:
            trainer(arguments)
        else:
            auto_cli(COMMANDS, args=arguments, as_positional=False, description=DESCRIPTION)
    except UserError as error:
        if debug:
            raise
        print(f"dynaclr: {error}", file=sys.stderr)
        sys.exit(2)
    log.info("%s: done in %.1f s", arguments[0], time.monotonic() - started)
