"""The commands, one module each, whose docstring is its help.

On click: it completes in all three shells, its groups can load a command when it is asked
for, and it starts in half the time of what builds on it (typer) or paints with it (rich),
which is what a command that lists processes is judged by. Only :mod:`.main` prints errors
and picks exit codes.
"""
