"""Pools of processes that other libraries make: loky, joblib, dask."""

import sys
from collections.abc import Iterable
from contextlib import ExitStack

import pytest
from harness import Launcher, wait_for
from serving import Ended, Server, children, is_alive, same_with_and_without

WORK = """
import os, time

def answer():
    return f"plain {os.getpid()}"

def work(number):
    time.sleep(0.01)
    return answer()
"""
# Each maps `work` over numbers until it is told to stop, and writes what the last round gave; and
# lets its workers be replaced as the library does that when it is told to.
ROUNDS = """
def rounds(run, renew):
    import os, time
    while not os.path.exists("stop"):
        if os.path.exists("renew"):
            renew()
            while os.path.exists("renew"): time.sleep(0.01)
        with open("answers.new", "w") as file: file.write("\\n".join(sorted(set(run()))))
        os.replace("answers.new", "answers")
"""
PROGRAMS = {
    "loky": """
        import loky, work
        if __name__ == "__main__":
            from rounds import rounds
            get = lambda: loky.get_reusable_executor(max_workers=2, timeout=120)
            rounds(lambda: get().map(work.work, range(20)), lambda: get().shutdown())
            get().shutdown()
            print("done")
        """,
    "joblib": """
        import joblib, work
        if __name__ == "__main__":
            from joblib.externals.loky import get_reusable_executor
            from rounds import rounds
            parallel = joblib.Parallel(n_jobs=2, batch_size=1)
            rounds(
                lambda: parallel(joblib.delayed(work.work)(n) for n in range(20)),
                lambda: get_reusable_executor().shutdown(wait=True),
            )
            print("done")
        """,
    "distributed": """
        import distributed, work
        if __name__ == "__main__":
            from rounds import rounds
            options = dict(n_workers=2, threads_per_worker=1, dashboard_address=None)
            options["silence_logs"] = 40  # that it restarts, which it says in some runs
            with distributed.LocalCluster(**options) as cluster, cluster.get_client() as client:
                rounds(
                    lambda: client.gather(client.map(work.work, range(20), pure=False)),
                    client.restart,
                )
            print("done")
        """,
}


@pytest.mark.parametrize("library", PROGRAMS)
def test_workers_of_a_pool_are_changed_while_they_work_and_replaced_as_without(
    launch: Launcher, library: str
) -> None:
    pytest.importorskip(library)
    launch.script(WORK, "work.py")
    launch.script(ROUNDS, "rounds.py")
    script = launch.script(PROGRAMS[library], f"{library}_program.py")
    answers, stop, renew = (launch.home / name for name in ("answers", "stop", "renew"))

    def working(other_than: Iterable[int] = ()) -> set[int]:
        """Return the pids of the two processes that work, which is what they say."""
        former = set(other_than)

        def pids() -> set[int]:
            lines = answers.read_text().splitlines()
            found = {int(line.split()[1]) for line in lines if line.startswith("plain")}
            return found if len(found) == 2 and not found & former else set()

        found: set[int] = wait_for(pids, "answers of two workers")
        return found

    def change(server: Server, workers: set[int], word: str) -> None:
        with ExitStack() as stack:
            for client in server.connect(stack, workers).values():
                cell = f"import os, work; work.answer = lambda: f'{word} {{os.getpid()}}'"
                assert client.run(cell).status == "ok"
            wanted = "\n".join(sorted(f"{word} {pid}" for pid in workers))
            wait_for(lambda: answers.read_text() == wanted, wanted)

    def scenario(watched: bool) -> Ended:
        answers.write_text("")
        stop.unlink(missing_ok=True)
        server = Server(launch, [sys.executable, str(script)], watched=watched)
        workers = working()
        assert workers <= children(server.pid)
        server.known |= children(server.pid)
        server.check_list({server.pid, *workers})
        change(server, workers, "changed" if watched else "plain")
        renew.touch()
        wait_for(lambda: not any(map(is_alive, workers)), "the workers' end")
        renew.unlink()
        fresh = working(other_than=workers)
        server.known |= children(server.pid)
        server.check_list({server.pid, *fresh})
        change(server, fresh, "again" if watched else "plain")
        stop.touch()
        return server.ended()

    code, out, errors = same_with_and_without(scenario)
    assert (code, out, errors) == (0, "done", "")
