"""The command line: see README.md."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from typing import Any

from vm import matrix, shell
from vm.errors import VmError
from vm.table import kernels


def main() -> int:
    """Run the command and return the exit status."""
    parser = argparse.ArgumentParser(prog="tests/vm/run.sh")
    commands = parser.add_subparsers(dest="command", required=True)
    test = commands.add_parser("test", help="run the tests on kernels (default: all)")
    test.add_argument("kernel", nargs="*")
    interactive = commands.add_parser("shell", help="a shell, or one command")
    interactive.add_argument("kernel")
    interactive.add_argument("words", nargs="*", metavar="command")
    options = parser.parse_args()
    if os.geteuid():
        raise VmError("Virtual machines share the whole file system: run this as root.")
    if options.command == "test":
        return asyncio.run(_until_signalled(matrix.run(kernels(options.kernel))))
    (kernel,) = kernels([options.kernel])
    return asyncio.run(_until_signalled(shell.run(kernel, options.words)))


async def _until_signalled(work: Coroutine[Any, Any, int]) -> int:
    """Let SIGTERM stop the machines in good order, as Ctrl-C does."""
    task = asyncio.ensure_future(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


if __name__ == "__main__":
    try:
        sys.exit(main())
    except VmError as problem:
        sys.exit(str(problem))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit("Stopped.")
