"""The hook by PYTHONPATH, for interpreters where nothing can be installed.

``PYTHONPATH=.../sitehook/path RTCONSOLE=1 python program.py``. Python imports one
``sitecustomize`` and one ``usercustomize``, the first on the path. Where ours comes
first it hides the user's own, which is looked up on the rest of the path and run in
its place, once; where the user's sitecustomize comes first, our usercustomize serves.
"""

import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))


def run(name: str) -> None:
    """Activate, then import the module ``name`` that would be found without this folder.

    The found module takes our module's place in ``sys.modules``. What it raises goes to
    ``site``, which reports it as it would have without us.

    Raises:
        ModuleNotFoundError: there is none, which ``site`` expects, and so may the program.
    """
    _activate()
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    elsewhere = [p for p in sys.path if os.path.abspath(p or os.curdir) != _HERE]
    spec = PathFinder.find_spec(name, elsewhere)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


def _activate() -> None:
    if not os.environ.get("RTCONSOLE") or sys.flags.ignore_environment:
        return
    try:
        try:
            import sitehook
        except ImportError:
            # not installed here: the checkout or unpacked wheel around this folder serves.
            # Appended, so that nothing the program imports is found there first.
            sys.path.append(os.path.dirname(os.path.dirname(_HERE)))
            import sitehook
        sitehook.activate()
    except (Exception, SystemExit):  # protects the program: without a console it runs all the same
        pass
