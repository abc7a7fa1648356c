"""``ctypes``, or ``None`` in a Python that was built without, or where no library can be opened.

As one that is linked with all of its libraries, its C library too. Whoever uses it has another way,
or says what cannot be done.
"""

import importlib
from typing import Any

ctypes: Any = None
try:
    ctypes = importlib.import_module("ctypes")
except (ImportError, OSError):  # the latter: it opens the program itself, dlopen(3)
    pass
