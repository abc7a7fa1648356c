"""JupyterLab in a headless Chromium: a notebook on a live process, and what cannot hurt it.

Needs JupyterLab, playwright and a Chromium: on PATH, or the one that CHROMIUM names.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import PATIENCE, Launcher, Program, wait_for

NAMES = ("chromium", "chromium-browser", "chromium-headless-shell", "google-chrome", "chrome")
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
MILLISECONDS = 1000 * PATIENCE

# Counts like the example, and prints as long as it is told what.
PROGRAM = """
import threading, time
word, t = None, 0
def speak():
    while True:
        if word: print(word, t, flush=True)
        time.sleep(0.05)
threading.Thread(target=speak, name="speaker", daemon=True).start()
while True:
    t += 1
    time.sleep(0.01)
"""

NOTEBOOK = """\
t > 0, t.__class__
---
word = "the program says"; print("the cell says")
---
while True: pass
"""


@pytest.fixture
def page(launch: Launcher) -> Iterator[Any]:
    """A page of a headless Chromium."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        # a container has no user namespaces to make a sandbox of; the page is our own
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            page = browser.new_page(viewport={"width": 1400, "height": 1000})
            page.set_default_timeout(MILLISECONDS)
            yield page
        finally:
            browser.close()


@pytest.fixture
def lab(launch: Launcher) -> Iterator[str]:
    """The address of a JupyterLab that ``rtconsole lab`` has started."""
    pytest.importorskip("jupyterlab")
    command = [sys.executable, "-m", "rtconsole", "lab", "--no-browser", "--allow-root", "--port=0"]
    log = launch.home / "lab.log"
    with log.open("wb") as file:
        server = subprocess.Popen(
            [*command, f"--ServerApp.root_dir={launch.home}", "--IdentityProvider.token=t"],
            env=launch.environment(RTCONSOLE_DEBUG=None),
            stdout=file,
            stderr=file,
        )
    runtime = launch.home / ".local/share/jupyter/runtime"
    try:
        (told,) = wait_for(
            lambda: list(runtime.glob("jpserver-*.json")) or (server.poll() is not None and [log]),
            "the server",
        )
        assert server.poll() is None, log.read_text()
        yield json.loads(told.read_text())["url"]
    finally:
        server.terminate()
        server.wait(PATIENCE)


def write_notebook(path: Path) -> None:
    cells = [
        {
            "cell_type": "code",
            "id": f"cell-{number}",
            "source": source.strip(),
            "metadata": {},
            "outputs": [],
            "execution_count": None,
        }
        for number, source in enumerate(NOTEBOOK.split("---"))
    ]
    path.write_text(
        json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    )


def test_a_notebook_on_a_live_process(launch: Launcher, page: Any, lab: str) -> None:
    program: Program = launch(PROGRAM, name="counter.py")
    assert program.connection_file
    write_notebook(launch.home / "n.ipynb")
    page.goto(f"{lab}lab/tree/n.ipynb?token=t")
    option = page.locator(".jp-Dialog select optgroup[label='Connect to Existing Kernel'] option")
    # the server looks into the folder every few seconds
    mine = option.filter(has_text=f"counter.py ({program.pid})")
    mine.wait_for(state="attached")
    assert "kernel runs" not in program.log, "being listed has woken it"
    page.locator(".jp-Dialog select").select_option(value=mine.get_attribute("value"))
    page.locator(".jp-Dialog .jp-mod-accept").click()

    page.locator(".jp-Notebook .jp-CodeCell .cm-content").first.click()
    page.keyboard.press("Shift+Enter")
    outputs = page.locator(".jp-OutputArea-output")
    outputs.filter(has_text="(True, int)").wait_for()
    page.keyboard.press("Shift+Enter")
    second = page.locator(".jp-Notebook .jp-CodeCell").nth(1)
    second.filter(has_text="the cell says").wait_for()
    # no key is pressed: it prints on, under the cell that ended last
    second.filter(has_text=re.compile(r"(the program says \d+\s*){5}")).wait_for()

    def choose(item: str) -> None:
        page.locator(".lm-MenuBar-item", has_text="Kernel").click()
        page.locator(".lm-Menu-item").filter(
            has=page.get_by_text(item, exact=True).locator("visible=true")
        ).click()

    page.keyboard.press("Shift+Enter")
    page.locator(".jp-InputPrompt", has_text="[*]").wait_for()
    choose("Interrupt Kernel")  # refused by the server, which has not started the kernel
    interrupt = [sys.executable, "-m", "rtconsole", "interrupt", str(program.pid)]
    subprocess.run(interrupt, env=launch.environment(RTCONSOLE=None), check=True)
    outputs.filter(has_text="KeyboardInterrupt").wait_for()
    choose("Restart Kernel…")
    page.locator(".jp-Dialog .jp-mod-accept").click()
    choose("Shut Down Kernel")
    page.locator(".jp-KernelName", has_text="No Kernel").wait_for()
    with program.client() as client:
        before = client.value("t")
        wait_for(lambda: client.value("t") > before, "the program to go on")
    assert program.stderr == ""
    assert re.search(r"^the program says \d+$", program.stdout, re.MULTILINE)
    assert "the cell says" not in program.stdout
