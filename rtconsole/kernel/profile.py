"""``RTCONSOLE_PROFILE``: the user's IPython profile in the program's process, if asked for."""

import os
from typing import Any, NamedTuple

from traitlets.config import Config


class Profile(NamedTuple):
    """A profile's folder (IPython's ``ProfileDir``) and its configuration; or none."""

    folder: Any
    config: Config


def load(name: str) -> Profile:
    """Return the profile called ``name``; an empty one if ``name`` is empty.

    Raises:
        ProfileDirError: there is no such profile.
    """
    config = Config()
    if not name:
        return Profile(None, config)
    from IPython.core.profiledir import ProfileDir
    from IPython.paths import get_ipython_dir
    from traitlets.config.loader import ConfigFileNotFound, PyFileConfigLoader

    folder = ProfileDir.find_profile_dir_by_name(get_ipython_dir(), name)
    for file in ("ipython_config.py", "ipython_kernel_config.py"):
        try:
            config.merge(PyFileConfigLoader(file, path=folder.location).load_config())
        except ConfigFileNotFound:
            pass
    return Profile(folder, config)


def run_startup_files(profile: Profile, shell: Any) -> None:
    """Run the profile's ``startup/*.py`` and ``*.ipy``, in the order of their names."""
    if profile.folder is None:
        return
    folder = profile.folder.startup_dir
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if name.endswith(".ipy"):
            shell.safe_execfile_ipy(path, shell_futures=False)
        elif name.endswith(".py"):
            shell.safe_execfile(path, shell.user_ns, shell_futures=False)
