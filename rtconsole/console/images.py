"""Images in the terminal's own protocol, where it has one; else saved, with a note where."""

import base64
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from typing import Any

_SUFFIXES = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/gif": ".gif",
    "image/webp": ".webp",
    "image/svg+xml": ".svg",
    "application/pdf": ".pdf",
}
_CHUNK = 4096  # of base64, the most that kitty's protocol allows


def protocol_of(env: Mapping[str, str]) -> str:
    """Return how this terminal shows images: ``kitty``, ``iterm``, ``sixel``, or "".

    Told by what the terminals say of themselves in the environment. Multiplexers pass none.
    """
    term, program = env.get("TERM", ""), env.get("TERM_PROGRAM", "")
    if "TMUX" in env or "STY" in env or term.startswith(("screen", "tmux")):
        return ""
    if "KITTY_WINDOW_ID" in env or term in ("xterm-kitty", "xterm-ghostty"):
        return "kitty"
    if program in ("iTerm.app", "WezTerm", "mintty") or env.get("LC_TERMINAL") == "iTerm2":
        return "iterm"
    if term.startswith(("foot", "mlterm", "yaft", "contour")) and shutil.which("img2sixel"):
        return "sixel"
    return ""


def image_in(data: Mapping[str, Any]) -> str | None:
    """Return the type of the image in a result's data, or None."""
    return next((kind for kind in _SUFFIXES if kind in data), None)


def show(kind: str, data: Mapping[str, Any], protocol: str) -> str:
    """Return what, written to the terminal, shows the image or says where it is saved."""
    is_text = kind == "image/svg+xml"
    try:
        image = _bytes(data[kind], is_text)
    except (TypeError, ValueError, AttributeError):
        return f"({kind}, damaged)"
    encoded = base64.b64encode(image).decode()
    if protocol == "kitty" and kind == "image/png":
        return _kitty(encoded)
    if protocol == "iterm" and not is_text:
        return f"\x1b]1337;File=inline=1;size={len(image)}:{encoded}\x07"
    if protocol == "sixel" and kind in ("image/png", "image/jpeg", "image/gif"):
        made = subprocess.run(["img2sixel"], input=image, capture_output=True, check=False)
        if made.returncode == 0:
            return str(made.stdout, "ascii", "replace")
    try:
        with tempfile.NamedTemporaryFile(
            prefix="rtconsole-", suffix=_SUFFIXES[kind], delete=False
        ) as file:
            file.write(image)
    except OSError as error:
        return f"({kind}, not saved: {error.strerror})"
    return f"({kind}{_size(kind, image)} saved as {os.path.abspath(file.name)})"


def _bytes(content: Any, is_text: bool) -> bytes:
    """Raises: TypeError, ValueError, AttributeError: it is none; a program may send anything."""
    return content.encode() if is_text else base64.b64decode(content)


def _kitty(encoded: str) -> str:
    """https://sw.kovidgoyal.net/kitty/graphics-protocol: transmit and display a PNG."""
    chunks = re.findall(f".{{1,{_CHUNK}}}", encoded)
    parts = []
    for number, chunk in enumerate(chunks, start=1):
        keys = "a=T,f=100," if number == 1 else ""
        parts.append(f"\x1b_G{keys}m={int(number < len(chunks))};{chunk}\x1b\\")
    return "".join(parts)


def _size(kind: str, image: bytes) -> str:
    """Return width and height as text, for a PNG: the first fields of its header."""
    if kind != "image/png" or len(image) < 24:
        return ""
    width, height = int.from_bytes(image[16:20], "big"), int.from_bytes(image[20:24], "big")
    return f" {width}x{height}"
