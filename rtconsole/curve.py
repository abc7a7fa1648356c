"""CurveZMQ keys for loopback TCP, where any user of the machine could listen.

libzmq can make them, but importing pyzmq costs more than the whole start-up, so this is
X25519 (RFC 7748) and Z85 (https://rfc.zeromq.org/spec/32/) on Python integers: some
milliseconds, once, and only with RTCONSOLE_TRANSPORT=tcp. Standard library only.
"""

import os
import sys

_P = 2**255 - 19
_Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
# jupyter_client reads Curve keys from connection files since 8.9.
_FIRST_JUPYTER_CLIENT = (8, 9)


def supported_here() -> bool:
    """Tell whether the clients of this environment can be expected to speak CurveZMQ.

    Looks for the installed jupyter_client's metadata folder instead of importing it. A
    client that knows nothing of the keys would wait for ever, so no trace of it means no.
    """
    for entry in sys.path:
        try:
            names = os.listdir(entry or os.curdir)
        except OSError:
            continue
        for name in names:
            if name.startswith("jupyter_client-") and name.endswith(".dist-info"):
                version = name[len("jupyter_client-") : -len(".dist-info")].split(".")
                try:
                    return (int(version[0]), int(version[1])) >= _FIRST_JUPYTER_CLIENT
                except (ValueError, IndexError):
                    return False
    return False


def keypair() -> tuple[str, str]:
    """Return a new (public, secret) pair of CurveZMQ keys, each 40 characters of Z85."""
    secret = os.urandom(32)
    return z85(x25519(secret)), z85(secret)


def x25519(secret: bytes, u: int = 9) -> bytes:
    """Return the product of ``secret`` and the point ``u`` (the base point), RFC 7748 section 5.

    The time it takes depends on the key. Nobody can ask for it twice: each key is used
    for one multiplication, at start-up.
    """
    k = bytearray(secret)
    k[0] &= 248
    k[31] = (k[31] & 127) | 64
    scalar = int.from_bytes(k, "little")
    x1, x2, z2, x3, z3, swap = u, 1, 0, u, 1, 0
    for t in reversed(range(255)):
        bit = (scalar >> t) & 1
        if swap ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = bit
        a, b = x2 + z2, x2 - z2
        aa, bb = a * a % _P, b * b % _P
        e = aa - bb
        da, cb = (x3 - z3) * a % _P, (x3 + z3) * b % _P
        x3, z3 = (da + cb) ** 2 % _P, x1 * (da - cb) ** 2 % _P
        x2, z2 = aa * bb % _P, e * (aa + 121665 * e) % _P
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, _P - 2, _P) % _P).to_bytes(32, "little")


def z85(data: bytes) -> str:
    """Return ``data``, whose length is a multiple of 4, in Z85."""
    text = ""
    for at in range(0, len(data), 4):
        number = int.from_bytes(data[at : at + 4], "big")
        chunk = ""
        for _ in range(5):
            number, digit = divmod(number, 85)
            chunk = _Z85[digit] + chunk
        text += chunk
    return text
