"""IPython, a Jupyter server and the kernels that it starts, as the programs looked into."""

import json
import signal
import urllib.request
from contextlib import ExitStack
from typing import Any

import pexpect
import pytest
from harness import Client, Launcher, wait_for
from load import Load, get
from serving import Ended, Server, children, free_port, listed, same_with_and_without, tool

TOKEN = "0123456789"


def test_ipython_at_its_prompt_shares_its_variables(launch: Launcher) -> None:
    seen = []
    for watched in (False, True):
        env = launch.environment(RTCONSOLE="1" if watched else None, TERM="dumb")
        words = ["--simple-prompt", "--colors=NoColor", "--no-banner", "--no-confirm-exit"]
        ipython = pexpect.spawn(
            *tool("ipython"), words, env=env, cwd=str(launch.home), encoding="utf-8", timeout=30
        )
        try:
            ipython.expect(r"In \[1\]: ")
            ipython.sendline("x = 41")
            ipython.expect(r"In \[2\]: ")
            if watched:
                path = launch.home / f".local/share/jupyter/runtime/kernel-rt-{ipython.pid}.json"
                client = Client(path)
                try:
                    client.ready()
                    assert listed(launch) == {ipython.pid}
                    assert client.run("x").result == "41"
                    assert client.run("x += 1").status == "ok"
                finally:
                    client.close()
            else:
                ipython.sendline("x += 1")
                ipython.expect(r"In \[3\]: ")
            ipython.sendline("x")
            ipython.expect(r"Out\[\d\]: (\d+)\s+In")
            assert ipython.match is not None
            seen.append(ipython.match[1])
            ipython.sendline("exit")
            ipython.expect(pexpect.EOF)
            ipython.close()
            seen.append((ipython.exitstatus, ipython.signalstatus))
        finally:
            ipython.close(force=True)
    assert seen[:2] == seen[2:] == ["42", (0, None)]


def ask(port: int, method: str, path: str, data: object = None) -> Any:
    """Return what the Jupyter server answers; None if that is nothing."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/{path}",
        json.dumps(data).encode() if data is not None else None,
        {"Authorization": f"token {TOKEN}", "Content-Type": "application/json"},
        method=method,
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        text = response.read()
        return json.loads(text) if text else None


def test_a_jupyter_server_under_load_and_its_kernels_are_changed_as_without(
    launch: Launcher,
) -> None:
    pytest.importorskip("jupyter_server")

    def scenario(watched: bool) -> Ended:
        port = free_port()
        words = [*tool("jupyter-server"), f"--port={port}", f"--IdentityProvider.token={TOKEN}"]
        words += ["--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1", "--log-level=WARN"]
        server = Server(launch, words, watched=watched)

        def is_up() -> bool:
            try:
                return bool(ask(port, "GET", "status"))
            except OSError:
                assert server.program.is_running(), server.program.describe()
                return False

        wait_for(is_up, "the server")
        plain = get(port, "/api")
        with Load(port, path="/api") as load:
            kernel = ask(port, "POST", "kernels", {"name": "python3"})["id"]
            (pid,) = server.wait_for_workers(1)
            own = server.program.runtime_dir / f"kernel-{kernel}.json"
            server.check_list({server.pid, pid})
            with ExitStack() as stack:
                theirs = Client(own)
                stack.callback(theirs.close)
                assert theirs.ready().run("x = 'theirs'").status == "ok"
                for ours in server.connect(stack, {pid}).values():
                    assert ours.run("x").result == "'theirs'"
                    assert ours.run("x = 'ours'; print('printed')").stdout == "printed\n"
                    assert theirs.run("x").result == "'ours'"
                load.wait_for_answers({plain})
                for ours in server.connect(stack, {server.pid}).values():
                    cell = "import jupyter_server; jupyter_server.__version__ = 'changed'"
                    assert ours.run(cell).status == "ok"
                    load.wait_for_answers({'{"version": "changed"}'})
                assert theirs.run("print('to its own client')").stdout == "to its own client\n"
                assert theirs.run("1/0").error == "ZeroDivisionError"
            ask(port, "POST", f"kernels/{kernel}/restart")
            (fresh,) = server.wait_for_workers(1, other_than={pid})
            server.check_list({server.pid, fresh})
            theirs = Client(own)
            try:  # one that still starts would be interrupted, and would say so
                assert theirs.ready().run("'again'").result == "'again'"
            finally:
                theirs.close()
            ask(port, "DELETE", f"kernels/{kernel}")
            wait_for(lambda: not children(server.pid), "the kernel's end")
            server.check_list({server.pid})
        code, out, errors = server.end(signal.SIGTERM)
        # said in some runs, with a console and without: a kernel's end met a message of its
        lines = [line for line in errors.splitlines() if "for closed stream" not in line]
        return code, out, "\n".join(lines)

    code, out, errors = same_with_and_without(scenario)
    assert (code, "Traceback" in errors) == (0, False), (out, errors)
