"""The `dynaclr` command: one thin command for each stage, without logic of its own.

Read `main` first (how a command is run), then `commands` (all commands by name). A command takes
paths and text, and calls one function of another room. Imports are inside the functions, so that a
command loads only what it needs.
"""
