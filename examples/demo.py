"""Start the counter with RTCONSOLE=1 and look into it.

On a terminal you get the real console, to try for yourself; otherwise what one would
type is typed for you.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from jupyter_client import BlockingKernelClient
from jupyter_core.paths import jupyter_runtime_dir

COUNTER = Path(__file__).with_name("counter.py")
PATIENCE = 30


def main() -> int:
    environment = {**os.environ, "RTCONSOLE": "1"}
    counter = subprocess.Popen([sys.executable, str(COUNTER)], env=environment)
    try:
        connection_file = Path(jupyter_runtime_dir(), f"kernel-rt-{counter.pid}.json")
        deadline = time.monotonic() + PATIENCE
        while not connection_file.exists():
            if time.monotonic() > deadline or counter.poll() is not None:
                print("the counter has no console; RTCONSOLE_DEBUG=/dev/stderr tells why")
                return 1
            time.sleep(0.01)
        print(f"$ RTCONSOLE=1 python {COUNTER.name} &    # pid {counter.pid}")
        print(f"$ rtconsole attach {counter.pid}\n")
        if sys.stdin.isatty() and sys.stdout.isatty():
            print("Try: t, (t, s), hello??, hello = lambda x: x + 1000, s; leave with exit.\n")
            attach = [sys.executable, "-m", "rtconsole", "attach", str(counter.pid)]
            subprocess.run(attach, check=False)
        else:
            play(connection_file)
        print(f"\nleft; the program {'goes on' if counter.poll() is None else 'has ended'}")
        return 0 if counter.poll() is None else 1
    finally:
        counter.terminate()
        counter.wait()


def play(connection_file: Path) -> None:
    """Type a few cells into the running program and show what comes back."""
    client = BlockingKernelClient()
    client.load_connection_file(str(connection_file))
    client.start_channels()
    try:
        client.wait_for_ready(timeout=PATIENCE)
        cells = ["(t, s)", "(t, s)", "hello = lambda x: x + 1000", "(t, s)", "(t, s)"]
        for number, cell in enumerate(cells, start=1):
            print(f"In [{number}]: {cell}")
            client.execute_interactive(cell, timeout=PATIENCE, output_hook=show)
            time.sleep(0.5)  # for the program to count on
    finally:
        client.stop_channels()


def show(message: dict) -> None:
    if message["msg_type"] == "execute_result":
        print(f"Out: {message['content']['data']['text/plain']}")
    elif message["msg_type"] == "stream":
        print(message["content"]["text"], end="")
    elif message["msg_type"] == "error":
        print("\n".join(message["content"]["traceback"]))


if __name__ == "__main__":
    sys.exit(main())
