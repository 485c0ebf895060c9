"""Entry point of the `dynaclr` command."""

from __future__ import annotations

import errno
import logging
import sys
import time

from dynaclr.cli.logs import quiet_lightning, set_up_logging
from dynaclr.config import UserError

log = logging.getLogger("dynaclr")

# What every command needs, and only the extra `workflow` installs.
NEEDED = ("jsonargparse", "lightning", "snakemake")

# A file system, a quota or a limit of file sizes is exhausted.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

DESCRIPTION = """DynaCLR: one embedding of cell states from many time-lapse experiments.

Each command is a stage of the workflow. `dynaclr run` runs the workflow itself: it hands its
arguments to Snakemake, indexes first, so that an index rebuilt with the same content stops there.
`dynaclr unlock`, with the same arguments, clears up after a Snakemake that was killed.

`dynaclr fit`, `validate` and `predict` are Lightning's own command line on a training configuration
(-c); `dynaclr fit --help` lists its arguments, `--print_config` all keys with their defaults.
"""


def main() -> None:
    """Run the command; user errors end with one message and exit code 2."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    set_up_logging(debug)
    started = time.monotonic()
    try:
        code = run(arguments)
    except (UserError, OSError, ModuleNotFoundError) as error:
        message = message_of(error)
        if debug or message is None:
            raise
        print(f"dynaclr: {message}", file=sys.stderr)
        sys.exit(2)
    if code is not None:
        sys.exit(code)
    log.info("%s: done in %.1f s", command_name(arguments), time.monotonic() - started)


def message_of(error: Exception) -> str | None:
    """Message for an error that has its cause outside this package; None for any other."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        named: str | None = str(error.name).partition(".")[0]
    else:
        named = getattr(error, "filename", None)
    if named in NEEDED:
        # The package without extras is enough to use its parts in other code, not for the command.
        return f"{named} is missing. Install dynaclr[workflow]."
    if not isinstance(error, OSError):
        return None
    what = f"{named}: {error.strerror or error}" if named else str(error)
    if error.errno in FULL:
        return f"{what}. Make room, and run the same command again: nothing is left half written."
    return f"{what}. Correct the path, its rights or the file system, and run again."


def run(arguments: list[str]) -> int | None:
    """Run a command.

    Parameters
    ----------
    arguments : list of str
        Its name and its options.

    Returns
    -------
    int or None
        Exit code of Snakemake, of the commands that run it.
    """
    from dynaclr.cli.commands import COMMANDS, TRAINER_COMMANDS
    from dynaclr.cli.run import COMMANDS as WORKFLOW_COMMANDS

    if arguments[:1] and arguments[0] in WORKFLOW_COMMANDS:
        return WORKFLOW_COMMANDS[arguments[0]](arguments[1:])
    arguments = [argument for argument in arguments if argument != "--debug"]
    if arguments[:1] and arguments[0] in TRAINER_COMMANDS:
        from dynaclr.cli.lightning import run_trainer

        quiet_lightning()
        run_trainer(arguments)
        return None
    from jsonargparse import auto_cli

    from dynaclr.config.grammar import parser_mode

    options = parser_options(arguments)
    auto_cli(
        COMMANDS,
        args=options,
        as_positional=False,
        description=DESCRIPTION,
        parser_mode=parser_mode(),
    )
    return None


def command_name(arguments: list[str]) -> str:
    """Name of the command, with that of its group before it: ``import ctc``."""
    from dynaclr.cli.commands import COMMANDS

    words = [argument for argument in arguments if not argument.startswith("-")]
    return " ".join(words[: 2 if isinstance(COMMANDS.get(words[0]), dict) else 1])


def parser_options(arguments: list[str]) -> list[str]:
    """Arguments as the parser reads them: `--dry_run=true` where a person writes `--dry-run`."""
    from dynaclr.cli.commands import FIRST_OPTIONS, SWITCHES

    options = []
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=False):
        option, equals, value = argument.partition("=")
        if option.startswith("--"):
            # What follows a dot is a key of the user's: `--channels.DAPI-405`.
            name, dot, key = option[2:].partition(".")
            name = name.replace("-", "_")
            if name in SWITCHES and not equals and following.lower() not in ("true", "false"):
                equals, value = "=", "true"
            option = f"--{name}{dot}{key}"
        options.append(option + equals + value)
    if options[1:] and options[0] in FIRST_OPTIONS and not options[1].startswith("-"):
        options.insert(1, FIRST_OPTIONS[options[0]])
    return options
