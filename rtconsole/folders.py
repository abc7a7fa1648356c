"""Folders for connection files and sockets: where they are, made and checked to be ours.

The rarer half of :mod:`.connection`: needed when a folder is not there yet, or the usual
one cannot be used. Standard library only.
"""

import os
import stat
import sys

TYPE_CHECKING = False  # importing `collections.abc` costs as much as all of this package
if TYPE_CHECKING:
    from collections.abc import Mapping

# A socket path must fit sockaddr_un.sun_path: 108 bytes with the final NUL on Linux, 104
# on the BSDs and macOS.
LONGEST_SOCKET_PATH = 103


def runtime_dir(env: "Mapping[str, str]", platform: str, home: str = "~") -> str:
    """Return Jupyter's runtime folder for this environment, which may not exist yet.

    The rules of ``jupyter_core.paths.jupyter_runtime_dir``, without importing it.

    Args:
        env: the environment variables.
        platform: ``sys.platform`` of the process.
        home: its user's home folder, if it is not this process's own.

    Raises:
        OSError: it would be in the home folder, and there is none.
    """
    if env.get("JUPYTER_RUNTIME_DIR"):
        return os.path.abspath(env["JUPYTER_RUNTIME_DIR"])
    return os.path.abspath(os.path.join(_data_dir(env, platform, home), "runtime"))


def _data_dir(env: "Mapping[str, str]", platform: str, home: str) -> str:
    if env.get("JUPYTER_DATA_DIR"):
        return env["JUPYTER_DATA_DIR"]
    home = os.path.expanduser(home)
    if not os.path.isabs(home):
        raise FileNotFoundError("no home folder")
    by_platform = env.get("JUPYTER_PLATFORM_DIRS", "false").lower()
    if by_platform not in ("no", "n", "false", "off", "0", "0.0"):
        return _platform_data_dir(env, platform, home)
    home = os.path.realpath(home)
    if platform == "darwin":
        return os.path.join(home, "Library", "Jupyter")
    if platform == "win32":
        if env.get("APPDATA"):
            return os.path.realpath(os.path.join(env["APPDATA"], "jupyter"))
        config = env.get("JUPYTER_CONFIG_DIR") or os.path.join(home, ".jupyter")
        return os.path.join(config, "data")
    base = env.get("XDG_DATA_HOME") or os.path.join(home, ".local", "share")
    return os.path.join(base, "jupyter")


def _platform_data_dir(env: "Mapping[str, str]", platform: str, home: str) -> str:
    """The rules of ``platformdirs.user_data_dir``, which JUPYTER_PLATFORM_DIRS asks for."""
    if platform == "darwin":
        name = "jupyter" if sys.prefix.startswith("/opt/homebrew") else "Jupyter"
        return os.path.join(home, "Library", "Application Support", name)
    if platform == "win32":
        local = env.get("LOCALAPPDATA") or os.path.join(home, "AppData", "Local")
        return os.path.join(os.path.normpath(local), "Jupyter")
    base = env.get("XDG_DATA_HOME", "").strip()
    if not os.path.isabs(base):
        base = os.path.join(home, ".local", "share")
    return os.path.join(base, "jupyter")


def own_folder(path: str, private: bool = False) -> str:
    """Return ``path``, made if need be (0700 under any umask), and checked to be ours.

    With the folders that it is in, but neither the home folder nor the temporary files': they
    are missing in a chroot, say, which is to stay as it is.

    Args:
        private: refuse a folder that others can even look into. An existing runtime
            folder of Jupyter's may be readable, since what is in it is 0600.

    Raises:
        OSError: it cannot be made, is not a folder, is a symbolic link, belongs to
            another user, or others can write to it.
    """
    if not os.path.isdir(path):
        parent = os.path.dirname(os.path.abspath(path))
        home = os.path.realpath(os.path.expanduser("~"))
        if f"{home}{os.sep}".startswith(f"{os.path.abspath(path)}{os.sep}"):
            raise FileNotFoundError(f"there is no home folder {home}")
        if not os.path.isdir(parent) and not private:
            own_folder(parent)
        elif os.name == "posix" and os.stat(parent).st_uid not in (0, os.geteuid()):
            # root with a user's HOME: what we made there would keep that user's Jupyter out,
            # and that user could put another folder in its place
            raise PermissionError(f"{parent} belongs to another user")
        try:
            os.mkdir(path, 0o700)
            os.chmod(path, 0o700)  # the umask may have taken bits away
        except FileExistsError:  # another process of the same user was quicker
            pass
    if os.name != "posix":
        return path
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(f"{path} is a link or a file, not a folder")
    if found.st_uid != os.geteuid():
        raise PermissionError(f"{path} belongs to uid {found.st_uid}")
    if found.st_mode & (0o077 if private else 0o022):
        raise PermissionError(f"{path} is open to other users ({stat.filemode(found.st_mode)})")
    return path


def private_temporary_dir() -> str:
    """Return our folder among the temporary files, made if need be: 0700 and ours.

    Raises:
        OSError: the name is taken by somebody else's folder, a link or a file.
    """
    owner = os.geteuid() if hasattr(os, "geteuid") else os.environ.get("USERNAME", "user")
    return own_folder(temporary_dir(os.environ, owner), private=True)


def temporary_dir(env: "Mapping[str, str]", owner: object) -> str:
    """Return where :func:`private_temporary_dir` is for this environment and user."""
    base = env.get("TMPDIR" if os.name == "posix" else "TEMP") or os.path.join(os.sep, "tmp")
    return os.path.abspath(os.path.join(base, f"rtconsole-{owner}"))


def socket_dir() -> str:
    """Return a short 0700 folder for Unix sockets, made if need be.

    ``$XDG_RUNTIME_DIR/rtconsole`` where the session has one (it is private and emptied at
    logout), else our folder among the temporary files.

    Raises:
        OSError: there is none that is ours and short enough.
    """
    longest = LONGEST_SOCKET_PATH - len("/4194304-5")
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(base) and len(os.fsencode(base)) + len("/rtconsole") <= longest:
        try:
            if os.lstat(base).st_uid == os.geteuid():
                return own_folder(os.path.join(base, "rtconsole"), private=True)
        except OSError:
            pass  # gone or not writable: the temporary folder will do
    path = private_temporary_dir()
    if len(os.fsencode(path)) > longest:
        path = own_folder(f"/tmp/rtconsole-{os.geteuid()}", private=True)
    return path
