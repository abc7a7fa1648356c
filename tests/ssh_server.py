"""An SSH server for one test: any key logs in, commands run here, Unix sockets are forwarded.

python ssh_server.py HOST_KEY_FILE     prints its port; ends with its standard input
"""

import asyncio
import sys
from typing import Any

import asyncssh


class Server(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return False

    def unix_connection_requested(self, dest_path: str) -> bool:
        return True

    def connection_requested(self, *_: Any) -> bool:
        return True


async def run(process: "asyncssh.SSHServerProcess[bytes]") -> None:
    """Run a command as sshd does, by a shell."""
    child: Any = await asyncio.create_subprocess_shell(
        process.command or "false",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )

    async def feed(child_input: Any) -> None:
        while data := await process.stdin.read(65536):
            child_input.write(data)
        child_input.close()

    feeding = asyncio.create_task(feed(child.stdin))
    said, complained = await asyncio.gather(child.stdout.read(), child.stderr.read())
    feeding.cancel()
    process.stdout.write(said)
    process.stderr.write(complained)
    process.exit(await child.wait())


async def main() -> None:
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=Server,
        server_host_keys=[sys.argv[1]],
        process_factory=run,
        encoding=None,
    )
    print(server.get_port(), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
