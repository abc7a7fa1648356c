"""One connection to one process: questions, cells, and what is said when nobody answers."""

import asyncio
import signal
import threading
from typing import Any

import pytest
import zmq
from harness import PATIENCE, Launcher, Program, wait_for

from rtconsole import client
from rtconsole.conversation import Connection
from rtconsole.errors import Gone, NoAnswer


def collect(program: Program, code: str, **options: Any) -> tuple[dict[str, Any], list[Any]]:
    seen: list[Any] = []
    reply = client.execute(program.info, code, lambda *message: seen.append(message), **options)
    return reply, seen


def stream(seen: list[Any], name: str) -> str:
    return "".join(c["text"] for kind, c in seen if kind == "stream" and c["name"] == name)


def test_a_question_is_answered_also_while_a_cell_runs(counter: Program) -> None:
    with counter.client() as other:
        other.send("while True: pass")
        reply = client.request(counter.info, "control", "kernel_info_request", {}, PATIENCE)
        assert "counter.py" in reply["banner"]
        reply = client.request(counter.info, "control", "interrupt_request", {}, PATIENCE)
        assert reply == {"status": "ok"}


def test_a_cell_is_run_and_all_of_its_output_seen(counter: Program) -> None:
    reply, seen = collect(counter, "import sys; print(1); print(2, file=sys.stderr); 3")
    assert reply["status"] == "ok"
    assert (stream(seen, "stdout"), stream(seen, "stderr")) == ("1\n", "2\n")
    assert [content["data"]["text/plain"] for kind, content in seen if kind == "execute_result"]
    reply, seen = collect(counter, "1/0")
    assert reply["ename"] == "ZeroDivisionError"
    assert [kind for kind, _ in seen if kind == "error"]
    assert counter.is_running()


def test_encrypted_tcp_is_spoken_too(launch: Launcher) -> None:
    program = launch("import time\ntime.sleep(60)", env={"RTCONSOLE_TRANSPORT": "tcp"})
    reply, seen = collect(program, "print('over tcp')")
    assert reply["status"] == "ok"
    assert stream(seen, "stdout") == "over tcp\n"


def test_who_does_not_answer_in_time_is_said(counter: Program) -> None:
    counter.signal(signal.SIGSTOP)
    with pytest.raises(NoAnswer, match=r"counter.py \(\d+\) does not answer"):
        client.request(counter.info, "control", "kernel_info_request", {}, 0.5)
    with pytest.raises(NoAnswer):
        collect(counter, "1", timeout=0.5)
    counter.signal(signal.SIGCONT)
    with pytest.raises(NoAnswer):
        collect(counter, "import time; time.sleep(100)", timeout=3)


def test_a_process_that_ends_while_asked_is_said_at_once(counter: Program) -> None:
    info = counter.info
    killer = threading.Timer(0.5, counter.process.kill)
    killer.start()
    try:
        with pytest.raises(Gone, match="has ended"):
            collect(counter, "import time; time.sleep(100)")
    finally:
        killer.join()
    counter.wait()
    with pytest.raises(Gone):
        client.request(info, "control", "kernel_info_request", {}, PATIENCE)


def test_a_late_answer_to_an_earlier_heartbeat_does_not_end_it(counter: Program) -> None:
    async def beat() -> None:
        # a kernel's heartbeat that was stopped for a while
        with zmq.Context() as context, context.socket(zmq.ROUTER) as late:
            late.bind(f"ipc://{counter.home}/late-{counter.info['hb_port']}")
            connection = Connection({**counter.info, "ip": f"{counter.home}/late"})
            connection.open()
            try:
                missed = await asyncio.to_thread(late.recv_multipart)
                asked = await asyncio.to_thread(late.recv_multipart)
                late.send_multipart(missed)
                while asked:
                    began = connection.last_beat
                    asked = await asyncio.to_thread(late.recv_multipart)
                    late.send_multipart(asked)
                    await asyncio.sleep(0)
                    if connection.last_beat > began:
                        return
            finally:
                await connection.close()

    asyncio.run(asyncio.wait_for(beat(), PATIENCE))


def test_a_connection_serves_a_person(counter: Program) -> None:
    async def attach() -> None:
        connection = Connection(counter.info)
        links: list[bool] = []
        seen: list[dict[str, Any]] = []
        connection.on_link = links.append
        connection.on_iopub = seen.append
        connection.open()
        try:
            began = connection.last_beat
            info = await connection.request("control", "kernel_info_request", {}, PATIENCE)
            assert info["status"] == "ok"
            shell = await connection.request("control", "create_subshell_request", {}, PATIENCE)
            asked = {"code": "print('beside')", "silent": False}
            reply = await connection.request(
                "shell", "execute_request", asked, PATIENCE, shell["subshell_id"]
            )
            assert reply["status"] == "ok"
            await until(lambda: any("beside" in m["content"].get("text", "") for m in seen))
            await until(lambda: connection.last_beat > began)
            assert links == [True]
            counter.process.kill()
            await until(lambda: links[-1] is False)
            with pytest.raises(TimeoutError):
                await connection.request("control", "kernel_info_request", {}, 0.1)
        finally:
            await connection.close()

    async def until(condition: Any) -> None:
        await asyncio.to_thread(wait_for, condition, "it")

    asyncio.run(attach())
