"""Which kernel functions the hooks of bpf/owners/hooks.c are attached to.

Where a hook names several functions, they are the same moment on different kernels;
the first that exists is taken.
"""

import contextlib
from collections.abc import Container, Mapping
from typing import NamedTuple

from tccap.bpf import btfattach, progs
from tccap.bpf.bcclib import bcc
from tccap.bpf.collection import Collection
from tccap.bpf.uapi import AttachType, ProgType
from tccap.errors import TccapError
from tccap.ipc.status import log

# Where bcc puts a probe.
ENTRY, RETURN = 0, 1

# Each process in a function keeps one return probe busy; many sleep in accept(2).
AT_ONCE = 4096


class Hook(NamedTuple):
    """A program, and the functions at whose entry (or return) it runs."""

    program: str
    functions: tuple[str, ...]
    needed: bool = True
    on_return: bool = False
    fentry: bool = False  # or fexit rather than a kprobe, for hooks.c's reasons


HOOKS = (
    Hook("on_socket_call", ("inet_bind",)),
    Hook("on_socket_call", ("inet6_bind",), needed=False),
    Hook("on_socket_call", ("inet_listen",)),
    Hook("on_socket_call", ("inet_stream_connect",)),
    Hook("on_socket_call", ("inet_dgram_connect",)),
    Hook("on_socket_call", ("inet_sendmsg",)),
    Hook("on_socket_call", ("inet6_sendmsg",), needed=False),
    Hook("on_socket_call", ("inet_recvmsg",)),
    Hook("on_socket_call", ("inet6_recvmsg",), needed=False),
    Hook("on_socket_call", ("inet_sendpage",), needed=False),  # sendfile before 6.5
    Hook("on_socket_call", ("tcp_splice_read",), needed=False),
    # Of other protocols, and of modules that come later, such as that for TLS.
    Hook("on_splice_call", ("sock_splice_read",), needed=False),
    Hook("on_socket_call", ("inet_shutdown",), needed=False),
    Hook("on_setsockopt", ("sock_common_setsockopt",), needed=False),
    Hook("on_getsockopt", ("sock_common_getsockopt",), needed=False),
    Hook("on_accept_call", ("inet_accept",)),
    # Of Multipath TCP, where its calls do not get to those above.
    Hook("on_socket_call", ("mptcp_listen",), needed=False),
    Hook("on_socket_call", ("mptcp_stream_connect",), needed=False),  # before 6.5
    Hook("on_accept_call", ("mptcp_stream_accept",), needed=False),
    # Kernels without LSM lack it.
    Hook("on_fd_received", ("security_file_receive",), needed=False, fentry=True),
    Hook("on_fd_closed", ("locks_remove_posix",), needed=False, fentry=True),
    Hook("on_connection", ("inet_csk_reqsk_queue_add",), fentry=True),
    Hook("on_handshake", ("inet_csk_complete_hashdance",), fentry=True),
    Hook(
        "on_timewait",
        ("inet_twsk_hashdance_schedule", "inet_twsk_hashdance"),
        fentry=True,
    ),
    Hook("on_destruct", ("inet_sock_destruct",), fentry=True),
    Hook("on_new_identity", ("commit_creds",), on_return=True, fentry=True),
    Hook("on_new_identity", ("__set_task_comm",), on_return=True, fentry=True),
)
# When security_sock_graft is entered, accept has chosen the connection. Kernels without
# LSM network hooks lack that function.
ACCEPT = Hook("on_accept", ("security_sock_graft",))
ACCEPT_RETURN = Hook("on_accept_return", ("inet_csk_accept",), on_return=True)
# Beside the kprobes at the same functions, as the kernel may skip those.
UNSEEN = (
    Hook("on_unseen_call", ("inet_stream_connect",), needed=False, fentry=True),
    Hook("on_unseen_call", ("inet_dgram_connect",), needed=False, fentry=True),
    Hook("on_unseen_call", ("inet_sendmsg",), needed=False, fentry=True),
    Hook("on_unseen_call", ("inet6_sendmsg",), needed=False, fentry=True),
    Hook("on_unseen_call", ("inet_recvmsg",), needed=False, fentry=True),
    Hook("on_unseen_call", ("inet6_recvmsg",), needed=False, fentry=True),
    Hook("on_unseen_call", ("inet_sendpage",), needed=False, fentry=True),
    Hook("on_unseen_call", ("inet_shutdown",), needed=False, fentry=True),
    Hook("on_unseen_accept", ("security_sock_graft",), needed=False, fentry=True),
)

EXIT = ("on_process_exit", "sched_process_exit")
STATE = ("on_close", "inet_sock_set_state")
FORK = ("on_process_fork", "sched_process_fork")
CGROUPS = (
    ("on_cgroup_mkdir", "cgroup_mkdir"),
    ("on_cgroup_attach", "cgroup_attach_task"),
)
# The kprobe program in which hooks end, and the map of tail calls that holds it.
TAIL = ("tails", "on_record")


FUNCTIONS = tuple(f for h in (*HOOKS, ACCEPT, ACCEPT_RETURN) for f in h.functions)


class KernelFunctions(NamedTuple):
    """Those of FUNCTIONS that this kernel has.

    ``fentry_ids`` are BTF numbers of the functions that get a fentry program in place
    of a kprobe; it is empty where the kernel cannot do that.
    """

    known: Container[str]
    fentry_ids: Mapping[str, int]


def with_fentry(known: Container[str], *, needed: bool) -> list[str]:
    """Return the functions where `attach` prefers fentry programs.

    With ``needed``, only those of hooks that are.
    """
    hooks = [h for h in (*HOOKS, *UNSEEN) if h.fentry and (h.needed or not needed)]
    return [function for hook in hooks if (function := _choose(hook, known))]


def attach(
    collection: Collection, kernel: KernelFunctions, *, follow_children: bool
) -> None:
    """Attach all hooks; TccapError names a function that the kernel lacks."""
    tails, recorder = TAIL
    collection.fill(tails, {0: collection.program(recorder, ProgType.KPROBE)})
    accept = ACCEPT if ACCEPT.functions[0] in kernel.known else ACCEPT_RETURN
    unseen = [hook for hook in UNSEEN if _choose(hook, kernel.fentry_ids)]
    for hook in (*HOOKS, accept, *unseen):
        function = _choose(hook, kernel.known)
        if function:
            _attach(collection, hook, function, kernel.fentry_ids)
        elif hook.needed:
            raise TccapError(f"The kernel has no function {hook.functions[0]}.")
    at_tracepoints = (EXIT, STATE, FORK) if follow_children else (EXIT, STATE)
    for name, tracepoint in at_tracepoints:
        _attach_raw(collection, name, tracepoint)
    for name, tracepoint in CGROUPS:
        with contextlib.suppress(OSError):  # a kernel without cgroups
            _attach_raw(collection, name, tracepoint)


def _attach_raw(collection: Collection, name: str, tracepoint: str) -> None:
    raw = collection.program(name, ProgType.RAW_TRACEPOINT)
    progs.open_raw_tracepoint(raw, tracepoint)


def _choose(hook: Hook, known: Container[str]) -> str | None:
    return next((function for function in hook.functions if function in known), None)


def _attach(
    collection: Collection,
    hook: Hook,
    function: str,
    fentry_ids: Mapping[str, int],
) -> None:
    """Attach an fentry program or a kprobe; one that is not needed may fail."""
    try:
        if hook.fentry and fentry_ids:
            _attach_fentry(collection, hook, fentry_ids.get(function))
        else:
            _attach_kprobe(collection, hook, function)
    except (OSError, TccapError) as error:
        if hook.needed:
            raise
        log("warning", str(error))


def _attach_fentry(collection: Collection, hook: Hook, number: int | None) -> None:
    """Attach a program to a function by its BTF number; OSError by bpf(2)."""
    if number is None:
        raise TccapError(f"The kernel does not describe {hook.functions[0]}.")
    kind = AttachType.TRACE_FEXIT if hook.on_return else AttachType.TRACE_FENTRY
    instructions = collection.instructions(hook.program)
    btfattach.attach(kind, number, hook.program, instructions)


def _attach_kprobe(collection: Collection, hook: Hook, function: str) -> None:
    """Attach a kprobe; TccapError if the kernel refuses it."""
    program_fd = collection.program(hook.program, ProgType.KPROBE)
    side, most = (RETURN, AT_ONCE) if hook.on_return else (ENTRY, 0)
    name = f"{'pr'[side]}_{function}".encode()
    lib = bcc().lib
    if lib.bpf_attach_kprobe(program_fd, side, name, function.encode(), 0, most) < 0:
        raise TccapError(f"The kernel has no probe at its function {function}.")
