"""One command, or a shell, in a guest."""

import sys
from collections.abc import Sequence

from vm import cache, console
from vm.errors import VmError
from vm.machine import Job, Machine, shared_folder
from vm.matrix import guest_environment
from vm.table import Kernel

# A person waits for it; this only stops machines that were forgotten.
DEADLINE_S = 4 * 3600


async def run(kernel: Kernel, command: Sequence[str]) -> int:
    """Run a command, or a shell when there is none; return the exit status."""
    if not command and not sys.stdin.isatty():
        raise VmError("A shell needs a terminal; give a command instead (CMD=...).")
    cached = cache.ready(kernel)
    machine = Machine(cached, DEADLINE_S)
    environment = guest_environment(cached)
    with shared_folder() as share:
        if command:
            job = Job(command, environment)
            outcome = await machine.run(job, share, lambda line: console.write([line]))
        else:
            outcome = await machine.attend(Job(["bash", "-i"], environment), share)
    if outcome.status is None:
        unseen = outcome.tail if outcome.boot_s is None else []
        console.write([*unseen, f"Linux {kernel.name} {outcome.problem}."])
        return 1
    return outcome.status
