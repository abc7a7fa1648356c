"""Fixtures of the tests with real servers."""

import pytest
from harness import Launcher

pytest.register_assert_rewrite("load", "serving")

from serving import APPLICATION  # noqa: E402  (rewritten first)


@pytest.fixture
def application(launch: Launcher) -> str:
    """Write ``application.py`` where the servers start, and return its name."""
    return launch.script(APPLICATION, "application.py").stem
