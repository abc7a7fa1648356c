"""The console's event loops, beside a program and cells that meddle with how loops are found."""

import pytest
from harness import Client, Launcher

# It puts asyncio's functions in Python in the place of those in C, or back, when asked.
MEDDLER = """
    import asyncio, threading
    from asyncio import events

    def put(kind):
        for name in "_get_running_loop _set_running_loop get_running_loop get_event_loop".split():
            for module in events, asyncio:
                setattr(module, name, getattr(events, kind + name))

    if {first}:
        put("_py_")
    over = threading.Event()
    over.wait()
"""

WITH_A_TIMEOUT = """
    async def f():
        await asyncio.sleep(0.001)
        return await asyncio.wait_for(asyncio.sleep(0.001, asyncio.get_running_loop()), 30)
    len(set(await asyncio.gather(f(), f())))
"""


def assert_is_well(client: Client) -> None:
    assert client.run("1 + 1").result == "2"
    assert client.run(WITH_A_TIMEOUT).result == "1"
    assert client.run("asyncio.get_running_loop().is_running()").result == "True"


@pytest.mark.parametrize("first", [True, False])
def test_cells_are_answered_whichever_functions_the_program_has_for_finding_a_loop(
    launch: Launcher, first: bool
) -> None:
    program = launch(MEDDLER.format(first=first))
    with program.client() as client:
        assert_is_well(client)
        for kind in ["_c_", "_py_", "_c_"]:
            client.run(f"put({kind!r})")
            assert_is_well(client)
            with program.client() as other:
                assert_is_well(other)
        client.send("over.set()")
        assert program.wait() == 0


@pytest.mark.parametrize(
    "code",
    [
        "asyncio.get_running_loop().run_forever()",
        "asyncio.get_running_loop().run_until_complete(asyncio.sleep(0))",
        "asyncio.new_event_loop().run_forever()",
        "await asyncio.sleep(0); asyncio.new_event_loop().run_forever()",
    ],
)
def test_a_cell_that_runs_a_loop_within_the_consoles_fails_and_the_next_does_not(
    launch: Launcher, code: str
) -> None:
    program = launch(MEDDLER.format(first=False))
    with program.client() as client:
        assert client.run(code).error == "RuntimeError"
        assert_is_well(client)
        client.send("over.set()")
        assert program.wait() == 0
    assert program.stdout == ""


def test_the_programs_tasks_are_numbered_as_without_us(launch: Launcher) -> None:
    source = """
        import asyncio, os, time
        def tell():
            async def main():
                tasks = [asyncio.create_task(asyncio.sleep(0)) for _ in range(2)]
                print(asyncio.current_task().get_name(), *(task.get_name() for task in tasks))
                await asyncio.gather(*tasks)
            asyncio.run(main())
        tell()
        print("told", flush=True)
        while not os.path.exists("go"): time.sleep(0.01)
        tell()
    """
    programs = [launch(source, cwd=launch.home, env={"RTCONSOLE": on}) for on in (None, "1")]
    for program in programs:
        program.wait_for_output("told")
    with programs[1].client() as client:
        assert_is_well(client)
        named = client.run("await asyncio.create_task(asyncio.sleep(0, 5), name='mine')")
        assert named.result == "5", named
        (launch.home / "go").touch()
        assert [program.wait() for program in programs] == [0, 0]
    assert programs[1].stdout == programs[0].stdout
