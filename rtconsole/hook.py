"""Is the start-up hook installed, and where is the folder that does without installing?"""

import importlib.util
import os
import site
import stat
import sys
from collections.abc import Iterable

FILES = ("rtconsole.pth", "rtconsole.start")


def installed(folders: Iterable[str] | None = None) -> list[str]:
    """Return the start-up files that this interpreter, or those folders, have.

    Args:
        folders: of site-packages; those that this interpreter reads if left out.
    """
    if folders is None:
        folders = [*site.getsitepackages()]
        if site.ENABLE_USER_SITE:
            folders.append(site.getusersitepackages())
    wanted = FILES if sys.version_info >= (3, 15) else FILES[:1]
    paths = [os.path.join(folder, name) for folder in folders for name in wanted]
    return [path for path in paths if os.path.isfile(path)]


def is_hidden(path: str) -> bool:
    """Tell whether ``path`` is hidden, and so passed over by :mod:`site`.

    On macOS a synchronised folder may hide files by itself.
    """
    found = os.stat(path)
    return hides(getattr(found, "st_flags", 0), getattr(found, "st_file_attributes", 0))


def hides(flags: int, attributes: int) -> bool:
    """Tell whether a file with ``st_flags`` (macOS) and ``st_file_attributes`` (Windows) is."""
    return bool(flags & stat.UF_HIDDEN or attributes & stat.FILE_ATTRIBUTE_HIDDEN)


def path_folder() -> str | None:
    """Return the folder that, on PYTHONPATH, serves as the hook; ``None`` if it is not here."""
    found = importlib.util.find_spec("sitehook")  # imports nothing
    for location in (found.submodule_search_locations if found else None) or ():
        folder = os.path.join(os.path.abspath(location), "path")
        if os.path.isfile(os.path.join(folder, "sitecustomize.py")):
            return folder
    return None


def is_by_path(pythonpath: str) -> bool:
    """Tell whether PYTHONPATH leads to such a folder."""
    return any(
        os.path.isfile(os.path.join(folder, "rtconsole_path.py"))
        for folder in pythonpath.split(os.pathsep)
        if folder
    )
