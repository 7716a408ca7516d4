"""One command in a guest, or a shell there."""

import sys
from collections.abc import Sequence

from vm import cache
from vm.console import say
from vm.errors import VmError
from vm.machine import Job, Machine, shared_folder
from vm.matrix import guest_environment
from vm.table import Kernel

# Somebody waits for it; this is only against machines that are forgotten.
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
            outcome = await machine.run(job, share, lambda line: say([line]))
        else:
            outcome = await machine.attend(Job(["bash", "-i"], environment), share)
    if outcome.status is None:
        unseen = outcome.tail if outcome.boot_s is None else []
        say([*unseen, f"Linux {kernel.name} {outcome.problem}."])
        return 1
    return outcome.status
