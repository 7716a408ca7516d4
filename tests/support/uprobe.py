"""Reading secrets from a running program by uprobes, as an Inspection describes."""

import ctypes
import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path as File

from tccap.paths import BPF_DIR
from tccap.tls import uprobes
from tccap.tls.sites import Inspection, Number, Numbered, Path, Site

# struct pt_regs of arch/x86/include/asm/ptrace.h, as words.
_PT_REGS = (
    *("r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8"),
    *("rax", "rcx", "rdx", "rsi", "rdi", "orig_rax", "rip", "cs", "eflags", "rsp"),
)
_LABEL_LEN, _SECRET_LEN = 40, 48
_EVENT = """
struct event { u32 len; u32 pid; char label[40]; u8 random[32]; u8 secret[48]; };
BPF_RINGBUF_OUTPUT(events, 64);
"""


class _Event(ctypes.Structure):
    _fields_ = (
        ("len", ctypes.c_uint32),
        ("pid", ctypes.c_uint32),
        ("label", ctypes.c_char * _LABEL_LEN),
        ("random", ctypes.c_uint8 * 32),
        ("secret", ctypes.c_uint8 * _SECRET_LEN),
    )


class Reader:
    """Probes at all sites of a file, and the key-log lines that they have read."""

    def __init__(self, file: File, inspection: Inspection) -> None:
        from bcc import BPF, lib  # noqa: PLC0415  # tests without it import this, too

        os.environ["BCC_KERNEL_SOURCE"] = BPF_DIR
        programs = [_program(n, site) for n, site in enumerate(inspection.sites)]
        self._lines: dict[int, list[str]] = defaultdict(list)
        self._lib = lib
        text = "#include <linux/types.h>\n" + _EVENT + "".join(programs)
        self._bpf = BPF(text=text.encode())
        self._bpf[b"events"].open_ring_buffer(self._take)
        # Not bcc's attach_uprobe: its probes may clash with others' (NO_COUNTER).
        self._probes = [
            uprobes.attach(
                self._bpf.load_func(f"site_{n}".encode(), BPF.KPROBE).fd,
                *(os.fsencode(file), site.file_offset, uprobes.EVERY_PROCESS),
            )
            for n, site in enumerate(inspection.sites)
        ]

    def lines(self, pid: int) -> list[str]:
        """Return the key-log lines of a process that has ended."""
        self._bpf.ring_buffer_consume()
        return self._lines[pid]

    def close(self) -> None:
        """Detach the probes."""
        for fd in self._probes:
            self._lib.bpf_close_perf_event_fd(fd)
        self._bpf.cleanup()

    def _take(self, _context: object, data: int, _size: int) -> None:
        event = ctypes.cast(data, ctypes.POINTER(_Event)).contents
        secret = bytes(event.secret)[: event.len]
        label = event.label.decode()
        line = f"{label} {bytes(event.random).hex()} {secret.hex()}"
        self._lines[event.pid].append(line)


@contextmanager
def reading(file: File, inspection: Inspection) -> Iterator[Reader]:
    """Probe a library at its sites, in all processes."""
    reader = Reader(file, inspection)
    try:
        yield reader
    finally:
        reader.close()


def _program(number: int, site: Site) -> str:
    label = _label(site)
    length = site.secret_len
    read_length = _number(length) if isinstance(length, Number) else f"at = {length};"
    return f"""
int site_{number}(u64 *ctx) {{
    struct event event = {{}};
    event.pid = bpf_get_current_pid_tgid() >> 32;
    u64 at;
    u32 half;
    {label}
    {_path(site.client_random)}
    bpf_probe_read_user(event.random, sizeof(event.random), (void *)at);
    {read_length}
    event.len = at;
    {_path(site.secret)}
    bpf_probe_read_user(event.secret, event.len == 48 ? 48 : 32, (void *)at);
    events.ringbuf_output(&event, sizeof(event), 0);
    return 0;
}}
"""


def _label(site: Site) -> str:
    if isinstance(site.label, str):
        return f'__builtin_memcpy(event.label, "{site.label}", {len(site.label) + 1});'
    if isinstance(site.label, Numbered):
        copies = (
            f'if (at == {n}) __builtin_memcpy(event.label, "{text}", {len(text) + 1});'
            for n, text in site.label.labels
        )
        return "\n    ".join((_number(site.label.number), *copies))
    if site.label_len is None:
        read = "bpf_probe_read_user_str(event.label, sizeof(event.label), (void *)at);"
        return f"{_path(site.label)}\n    {read}"
    # The longest label has 31 bytes; the mask satisfies the verifier.
    read = "bpf_probe_read_user(event.label, length & 31, (void *)at);"
    length = f"{_number(site.label_len)} u64 length = at;"
    return f"{length}\n    {_path(site.label)}\n    {read}"


def _number(number: Number) -> str:
    mask = "at = (u32)at;" if number.width == 4 else ""
    if not number.path.offsets:
        return f"{_path(number.path)} {mask}"
    if number.width == 4:
        read = "bpf_probe_read_user(&half, 4, (void *)at); at = half;"
    else:
        read = "bpf_probe_read_user(&at, 8, (void *)at);"
    return f"{_path(number.path)} {read}"


def _path(path: Path) -> str:
    """Return C code that evaluates a path into ``at``."""
    steps = [f"at = ctx[{_PT_REGS.index(path.register)}];"]
    for n, offset in enumerate(path.offsets):
        steps.append(f"at += {offset}LL;")
        if n < len(path.offsets) - 1:
            steps.append("bpf_probe_read_user(&at, 8, (void *)at);")
    return " ".join(steps)
