"""Run a notebook's cells in a live process, and write the notebook with their outputs.

pip install nbclient
python run_notebook.py checks.ipynb CONNECTION_FILE > checked.ipynb
"""

import asyncio
import sys

import nbformat
from jupyter_client import AsyncKernelClient
from nbclient import NotebookClient


async def run(notebook, connection_file):
    runner = NotebookClient(notebook)
    runner.reset_execution_trackers()
    # its own kernel client: nbclient would start a kernel, and shut it down in the end
    runner.kc = AsyncKernelClient(connection_file=connection_file)
    runner.kc.load_connection_file()
    runner.kc.start_channels()
    try:
        await runner.kc.wait_for_ready(timeout=30)
        for index, cell in enumerate(notebook.cells):
            await runner.async_execute_cell(cell, index)
    finally:
        runner.kc.stop_channels()


if __name__ == "__main__":
    notebook = nbformat.read(sys.argv[1], as_version=4)
    try:
        asyncio.run(run(notebook, sys.argv[2]))
    finally:
        nbformat.write(notebook, sys.stdout)
