"""One command in a guest, with its output passed on."""

from collections.abc import Sequence

from vm import cache
from vm.console import say
from vm.machine import Job, Machine, shared_folder
from vm.matrix import guest_environment
from vm.table import Kernel


async def run(kernel: Kernel, command: Sequence[str]) -> int:
    """Run a command on a kernel and return its exit status."""
    cached = cache.ready(kernel)
    with shared_folder() as share:
        job = Job(command, guest_environment(cached))
        outcome = await Machine(cached, kernel.deadline_s).run(
            job, share, lambda line: say([line])
        )
    if outcome.status is None:
        say([*outcome.tail, f"Linux {kernel.name} {outcome.problem}."])
        return 1
    return outcome.status
