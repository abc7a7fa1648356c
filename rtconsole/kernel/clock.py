"""The kernel's clock, whatever a program has put in the place of ``time.monotonic``.

A test of the program's counts who asks, or gives answers one by one; and where it has stopped the
time, no timer of ours would ever be due.
"""

import functools
import time
import types
from collections.abc import Callable

from rtconsole import native


def _original() -> Callable[[], float]:
    found = time.monotonic
    if type(found) is not types.BuiltinFunctionType:  # replaced by now
        found = native.module("time").monotonic
    return found


# Not the function itself: whoever stops the time (freezegun) looks for that in all modules.
monotonic: Callable[[], float] = functools.partial(_original())
