"""The terminal client: a prompt that stays editable while the program prints above it.

Built on prompt_toolkit and :mod:`rtconsole.client`. It reads and shows; it starts and stops
nothing.
"""
