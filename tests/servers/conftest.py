"""Fixtures of the tests with real servers."""

import pytest
from harness import Launcher
from serving import APPLICATION


@pytest.fixture
def application(launch: Launcher) -> str:
    """Write ``application.py`` where the servers start, and return its name."""
    return launch.script(APPLICATION, "application.py").stem
