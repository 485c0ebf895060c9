"""The `dynaclr` command: one thin command a stage, no logic.

Read `main` first (how a command is run), then `commands` (all of them by name). A command takes
paths and text, and calls one function of another room; each import stands inside its function, so
that a command loads only what it needs.
"""
