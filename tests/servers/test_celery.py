"""celery: its prefork pool while tasks come, recycled children, HUP (an exec), warm shutdown."""

import shutil
import signal
from contextlib import ExitStack

import pytest
from harness import Launcher, wait_for
from serving import Ended, Server, free_port, is_alive, same_with_and_without, tool

pytest.importorskip("celery")
pytest.importorskip("redis")
if shutil.which("redis-server") is None:
    pytest.skip("there is no redis-server", allow_module_level=True)

TASKS = """
import os, time
from celery import Celery

app = Celery("tasks", broker=os.environ["BROKER"])
app.conf.worker_prefetch_multiplier = 1

def answer():
    return f"plain {os.getpid()}"

@app.task
def work(number):
    time.sleep(0.015)  # or one child would do all of them
    with open("done", "a") as file: file.write(f"{number} {answer()}\\n")
"""
SENDER = """
import os, time
import tasks
number = 0
while not os.path.exists("enough"):
    tasks.work.delay(number)
    number += 1
    time.sleep(0.01)
print(number)
"""


@pytest.mark.timeout(360)  # 45 s on a quiet machine, and more than the others' 120 on a busy one
def test_children_of_the_pool_are_changed_recycled_and_restarted_while_tasks_come(
    launch: Launcher,
) -> None:
    def scenario(watched: bool) -> Ended:
        launch.script(TASKS, "tasks.py")
        done, enough = launch.home / "done", launch.home / "enough"
        done.write_text("")
        enough.unlink(missing_ok=True)

        def answers(number: int = 60) -> set[str]:
            size = len(done.read_text())

            def new() -> list[str]:
                text = done.read_text()[size:]
                return text[: text.rfind("\n") + 1].splitlines()

            wait_for(lambda: len(new()) >= number, "tasks")
            return {line.partition(" ")[2] for line in new()}

        words = [*tool("celery"), "-A", "tasks", "worker", "-c", "2", "-l", "warning"]
        words += ["--without-mingle", "--without-gossip", "--max-tasks-per-child", "300"]
        # another broker for each: this one may still have what the other has not acknowledged
        port = free_port()
        options = ["--port", str(port), "--save", "", "--dir", str(launch.home)]
        broker = launch(python=["redis-server", *options])
        broker.wait_for_output("Ready to accept connections")
        env: dict[str, str | None] = {
            "C_FORCE_ROOT": "1",
            "BROKER": f"redis://127.0.0.1:{port}",
        }
        server = Server(launch, words, watched=watched, env=env)
        script = launch.script(SENDER, "sender.py")
        sender = launch(script, env={**env, "RTCONSOLE": None}, cwd=launch.home)
        workers = server.wait_for_workers(2)
        server.check_list({server.pid, *workers})
        with ExitStack() as stack:
            clients = server.connect(stack, {server.pid, *workers})
            for pid in workers & set(clients):
                cell = "import os, tasks; tasks.answer = lambda: f'changed {os.getpid()}'"
                assert clients[pid].run(cell).status == "ok"
            word = "changed" if watched else "plain"
            wait_for(lambda: answers() == {f"{word} {pid}" for pid in workers}, "changes")
            wait_for(lambda: not any(map(is_alive, workers)), "recycled children")
            fresh = server.wait_for_workers(2, other_than=workers)
            server.check_list({server.pid, *fresh})
            wait_for(lambda: answers() == {f"plain {pid}" for pid in fresh}, "fresh children")
        enough.touch()
        assert sender.wait() == 0, sender.describe()
        sent = int(sender.stdout)
        wait_for(lambda: len(done.read_text().splitlines()) >= sent, "all tasks")
        numbers = sorted(int(line.split()[0]) for line in done.read_text().splitlines())
        assert numbers == list(range(sent)), "each task is done once"
        former = server.all_pids()
        # With tasks under way its end takes half a minute now and again, watched or not: a child
        # waits until their results are consumed (billiard/pool.py, _ensure_messages_consumed).
        server.program.signal(signal.SIGHUP)  # it replaces itself by exec, all descriptors closed
        fresh = server.wait_for_workers(2, other_than=former)
        server.check_list({server.pid, *fresh})
        with ExitStack() as stack:
            for pid, client in server.connect(stack, {server.pid, *fresh}).items():
                assert client.value("__import__('os').getpid()") == pid
        return server.end()

    code, _, errors = same_with_and_without(scenario)
    assert code == 0
    assert "Traceback" not in errors
