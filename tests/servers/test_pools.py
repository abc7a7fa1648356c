"""Pools of processes that other libraries make: loky, joblib, dask."""

import sys
from contextlib import ExitStack

import pytest
from harness import Launcher, wait_for
from serving import Ended, Server, children, same_with_and_without

WORK = """
import os, time

def answer():
    return f"plain {os.getpid()}"

def work(number):
    time.sleep(0.01)
    return answer()
"""
# Each maps `work` over numbers until it is told to stop, and writes what the last round gave.
ROUNDS = """
def rounds(run):
    import os
    while not os.path.exists("stop"):
        with open("answers.new", "w") as file: file.write("\\n".join(sorted(set(run()))))
        os.replace("answers.new", "answers")
"""
PROGRAMS = {
    "loky": """
        import loky, work
        if __name__ == "__main__":
            from rounds import rounds
            executor = loky.get_reusable_executor(max_workers=2)
            rounds(lambda: executor.map(work.work, range(20)))
            executor.shutdown()
            print("done")
        """,
    "joblib": """
        import joblib, work
        if __name__ == "__main__":
            from rounds import rounds
            with joblib.Parallel(n_jobs=2, batch_size=1) as parallel:
                rounds(lambda: parallel(joblib.delayed(work.work)(n) for n in range(20)))
            print("done")
        """,
    "distributed": """
        import distributed, work
        if __name__ == "__main__":
            from rounds import rounds
            options = dict(n_workers=2, threads_per_worker=1, dashboard_address=None)
            with distributed.LocalCluster(**options) as cluster, cluster.get_client() as client:
                rounds(lambda: client.gather(client.map(work.work, range(20), pure=False)))
            print("done")
        """,
}


@pytest.mark.parametrize("library", PROGRAMS)
def test_workers_of_a_pool_are_changed_while_they_work(launch: Launcher, library: str) -> None:
    pytest.importorskip(library)
    launch.script(WORK, "work.py")
    launch.script(ROUNDS, "rounds.py")
    script = launch.script(PROGRAMS[library], f"{library}_program.py")
    answers, stop = launch.home / "answers", launch.home / "stop"

    def scenario(watched: bool) -> Ended:
        answers.write_text("")
        stop.unlink(missing_ok=True)
        server = Server(launch, [sys.executable, str(script)], watched=watched)
        # which of the processes work is what they say
        wait_for(lambda: answers.read_text().count("plain") == 2, "answers of two workers")
        workers = {int(line.split()[1]) for line in answers.read_text().splitlines()}
        assert workers <= children(server.pid)
        server.known |= children(server.pid)
        server.check_list({server.pid, *workers})
        with ExitStack() as stack:
            for client in server.connect(stack, workers).values():
                cell = "import os, work; work.answer = lambda: f'changed {os.getpid()}'"
                assert client.run(cell).status == "ok"
            word = "changed" if watched else "plain"
            wanted = "\n".join(sorted(f"{word} {pid}" for pid in workers))
            wait_for(lambda: answers.read_text() == wanted, wanted)
            stop.touch()
            return server.ended()

    code, out, errors = same_with_and_without(scenario)
    assert (code, out, errors) == (0, "done", "")
