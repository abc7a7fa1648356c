"""Programs with event loops of their own kind: uvloop and trio."""

import signal
import sys

import pytest
from harness import Client, Launcher, Program, wait_for

UVLOOP = """
import asyncio, sys, uvloop

ticks, stop, seen = 0, False, []

async def count():
    global ticks
    while not stop:
        await asyncio.sleep(0.005)
        ticks += 1

async def serve(reader, writer):
    while line := await reader.readline():
        writer.write(line.upper())
        await writer.drain()
    writer.close()

async def main():
    global loop, task, address
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    async with server:
        print("serving", flush=True)
        await count()
    print("end", flush=True)

if sys.argv[1] == "run":
    uvloop.run(main())
else:
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    policy = asyncio.get_event_loop_policy()
    asyncio.run(main())
    assert asyncio.get_event_loop_policy() is policy
"""

TRIO = """
import sys, trio

ticks, stop = 0, False

async def count():
    global ticks
    while not stop:
        await trio.sleep(0.005)
        ticks += 1

async def main():
    global token, scope
    token = trio.lowlevel.current_trio_token()
    async with trio.open_nursery() as nursery:
        scope = nursery.cancel_scope
        nursery.start_soon(count)
        print("serving", flush=True)
    print("end", flush=True)

if sys.argv[1] == "run":
    trio.run(main)
else:  # as a guest of asyncio
    import asyncio

    async def host():
        done = asyncio.Event()
        loop = asyncio.get_running_loop()
        trio.lowlevel.start_guest_run(
            main,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            done_callback=lambda outcome: done.set(),
        )
        try:
            await done.wait()
        except asyncio.CancelledError:  # by SIGINT; a guest that is left behind says so, at random
            token.run_sync_soon(scope.cancel)
            await done.wait()
            raise

    asyncio.run(host())
"""

PROGRAMS = [("uvloop", "run"), ("uvloop", "policy"), ("trio", "run"), ("trio", "guest")]


def start(launch: Launcher, library: str, how: str, **env: str | None) -> Program:
    pytest.importorskip(library)
    source = UVLOOP if library == "uvloop" else TRIO
    arguments = ["-W", "ignore::DeprecationWarning"]  # policies, from Python 3.14 on
    python = [sys.executable, *arguments]
    program = launch(source, how, python=python, env={"PYTHONUNBUFFERED": "1", **env})
    program.wait_for_output("serving")
    return program


def ticks_during(client: Client, cell: str) -> int:
    before = client.value("ticks")
    assert client.run(cell).status == "ok", cell
    return int(client.value("ticks")) - before


@pytest.mark.parametrize(("library", "how"), PROGRAMS)
def test_the_loop_goes_on_while_cells_run_and_ends_without_a_word(
    launch: Launcher, library: str, how: str
) -> None:
    program = start(launch, library, how)
    for _ in range(2):
        with program.client() as client:
            # 400 in two seconds of a quiet machine; next to none if it stood still
            assert ticks_during(client, "import time; time.sleep(2)") > 20
            assert ticks_during(client, "import asyncio; await asyncio.sleep(2)") > 20
            cell = "end = time.monotonic() + 2\nwhile time.monotonic() < end: pass"
            assert ticks_during(client, cell) > 20
            assert client.run("1/0").error == "ZeroDivisionError"
    with program.client() as client:
        client.send("stop = True")
        assert program.wait() == 0
    assert (program.stdout, program.stderr) == ("serving\nend\n", "")


@pytest.mark.parametrize(("library", "how"), PROGRAMS)
def test_a_signal_ends_the_loop_as_without(launch: Launcher, library: str, how: str) -> None:
    ends = []
    for watched in (False, True):
        program = start(launch, library, how, RTCONSOLE="1" if watched else None)
        if watched:
            with program.client() as client:
                assert client.run("import time; time.sleep(0.1)").status == "ok"
        program.signal(signal.SIGINT)
        code = program.wait()
        ends.append((code, program.stderr.splitlines()[-1:]))
        assert "rtconsole" not in program.stderr
    assert ends[0] == ends[1]


@pytest.mark.parametrize("how", ["run", "policy"])
def test_a_cell_reaches_uvloops_loop_from_its_own(launch: Launcher, how: str) -> None:
    program = start(launch, "uvloop", how)
    with program.client() as client:
        assert client.run("type(loop).__module__").result == "'uvloop'"
        # the cell's own loop is asyncio's: that of the program runs in another thread
        assert "uvloop" not in (client.run("asyncio.get_running_loop()").result or "uvloop")
        client.run("async def there(): return asyncio.get_running_loop() is loop")
        cell = "await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(there(), loop))"
        assert client.run(cell).result == "True"
        cell = """
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"hello\\n")
        answer = await reader.readline()
        writer.close()
        answer
        """
        assert client.run(cell).result == repr(b"HELLO\n")
        assert client.run("loop.call_soon_threadsafe(seen.append, 1)").status == "ok"
        wait_for(lambda: client.value("seen") == [1], "the program's loop")
        assert client.run("await asyncio.to_thread(abs, -3)").result == "3"
        assert client.run("%%bash\necho from bash").stdout == "from bash\n"
        client.send("loop.call_soon_threadsafe(task.cancel)")
        program.wait()
    assert "CancelledError" in program.stderr


@pytest.mark.parametrize("how", ["run", "guest"])
def test_a_cell_reaches_trios_loop(launch: Launcher, how: str) -> None:
    program = start(launch, "trio", how)
    with program.client() as client:
        cell = "trio.from_thread.run_sync(trio.current_time, trio_token=token) > 0"
        assert client.run(cell).result == "True"
        cell = "trio.from_thread.run(trio.sleep, 0.01, trio_token=token)"
        assert client.run(cell).status == "ok"
        # a loop of trio's in a cell, beside the program's
        assert client.run("trio.run(trio.sleep, 0.01)").status == "ok"
        client.send("token.run_sync_soon(scope.cancel)")
        assert program.wait() == 0
    assert (program.stdout, program.stderr) == ("serving\nend\n", "")
