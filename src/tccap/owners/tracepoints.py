"""Which raw tracepoints the programs of bpf/owners/tracepoints.c are attached to.

A kernel may lack some: what they tell is then found by polling, later.
"""

from collections.abc import Callable

TRACEPOINTS = {
    "inet_sock_set_state": "on_state",
    "tcp_sendmsg_locked": "on_use",  # Linux 6.17
    "sock_send_length": "on_use",  # Linux 6.3
    "sock_recv_length": "on_use",
    "task_rename": "on_change",
    "sched_process_exec": "on_change",
    "sched_process_exit": "on_exit",
    "sched_process_fork": "on_fork",
}


def attach(at_tracepoint: Callable[[str, str], bool]) -> list[str]:
    """Attach all programs; return the tracepoints where that failed.

    ``at_tracepoint`` runs a program at a tracepoint, if the kernel can.
    """
    wanted = TRACEPOINTS.items()
    return [name for name, program in wanted if not at_tracepoint(program, name)]
