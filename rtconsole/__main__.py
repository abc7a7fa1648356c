"""``python -m rtconsole`` is the command ``rtconsole``."""

from rtconsole.cli.main import main

main()
