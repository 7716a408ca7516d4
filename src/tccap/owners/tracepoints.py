"""Which raw tracepoints find users of sockets where there are no kprobes.

The programs are those of bpf/owners/tracepoints.c and process_events.c. A kernel
may lack some tracepoints: what they tell is then found by polling, later.
"""

from collections.abc import Callable

TRACEPOINTS = {
    "inet_sock_set_state": "on_socket_state",
    "tcp_sendmsg_locked": "on_socket_use",  # Linux 6.17
    "sock_send_length": "on_socket_use",  # Linux 6.3
    "sock_recv_length": "on_socket_use",
    "task_rename": "on_new_identity",
    "sched_process_exec": "on_new_identity",
    "sched_process_exit": "on_process_exit",
    "sched_process_fork": "on_process_fork",
}


def attach(at_tracepoint: Callable[[str, str], bool]) -> list[str]:
    """Attach all programs; return the tracepoints where that failed.

    ``at_tracepoint`` runs a program at a tracepoint, if the kernel can.
    """
    wanted = TRACEPOINTS.items()
    return [name for name, program in wanted if not at_tracepoint(program, name)]
