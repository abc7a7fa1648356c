"""The protocol suite of jupyter_kernel_test, against a console in a living program."""

import unittest
from typing import Any, ClassVar

import jupyter_kernel_test
import pytest
from harness import PATIENCE, Client, Launcher
from jupyter_kernel_test.msgspec_v5 import validate_message


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Any:
    import shutil
    import tempfile
    from pathlib import Path

    home = Path(tempfile.mkdtemp(prefix="rt-"))
    launcher = Launcher(home)
    program = launcher("import time\ntime.sleep(1000)")
    try:
        yield program
    finally:
        program.stop()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(autouse=True, scope="module")
def attached(running: Any) -> Any:
    client = Client(running.connection_file).ready()
    TestProtocol.kc = client.kernel
    # the suite waits a tenth of a second for what has to come, on a busy machine too
    iopub, get = client.kernel.iopub_channel, client.kernel.iopub_channel.get_msg
    iopub.get_msg = lambda timeout=None: get(timeout=PATIENCE)
    yield
    client.close()


class TestProtocol(jupyter_kernel_test.KernelTests):  # type: ignore[misc]
    """What a plain ipykernel passes, with the suite's samples for IPython."""

    kc: ClassVar[Any]
    language_name = "python"
    file_extension = ".py"
    code_hello_world = "print('hello, world')"
    code_stderr = "import sys; print('test', file=sys.stderr)"
    completion_samples: ClassVar[Any] = [
        {"text": "zi", "matches": {"zip"}},
        {"text": "imp", "matches": {"import"}},
    ]
    complete_code_samples: ClassVar[Any] = [
        "1",
        "print('hello, world')",
        "def f(x):\n  return x*2\n\n\n",
    ]
    incomplete_code_samples: ClassVar[Any] = ["print('''hello", "def f(x):\n  x*2"]
    invalid_code_samples: ClassVar[Any] = ["import = 7q"]
    code_page_something = "zip?"
    code_generate_error = "raise"
    code_execute_result: ClassVar[Any] = [
        {"code": "1+2+3", "result": "6"},
        {"code": "[n*n for n in range(1, 4)]", "result": "[1, 4, 9]"},
    ]
    code_display_data: ClassVar[Any] = [
        {
            "code": "from IPython.display import HTML, display; display(HTML('<b>test</b>'))",
            "mime": "text/html",
        },
        {
            "code": "from IPython.display import Math, display; display(Math('\\\\frac{1}{2}'))",
            "mime": "text/latex",
        },
    ]
    code_history_pattern = "1?2*"
    supported_history_operations = ("tail", "search")
    code_inspect_sample = "zip"
    code_clear_output = "from IPython.display import clear_output; clear_output()"

    def flush_channels(self) -> None:
        """Take all that came of earlier requests; the suite waits for silence of any reason."""
        request = self.kc.kernel_info()
        for get in (self.kc.get_shell_msg, self.kc.get_iopub_msg):
            is_last = False
            while not is_last:
                message = get(timeout=PATIENCE)
                validate_message(message)
                state = message["content"].get("execution_state", "idle")
                is_last = message["parent_header"].get("msg_id") == request and state == "idle"

    @classmethod
    def setUpClass(cls) -> None:
        """The kernel runs already: the suite would start one."""

    @classmethod
    def tearDownClass(cls) -> None:
        """And must not be shut down."""


def test_the_suite_was_not_skipped() -> None:
    names = unittest.TestLoader().getTestCaseNames(TestProtocol)
    assert len(names) >= 12
