"""The times that a user waits: for the short calls, the first packet, the end."""

import ast
import contextlib
import os
import re
import select
import shutil
import signal
import socket
import statistics
import subprocess
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

from bench import tables, tools
from support import netns
from support.wireshark import Log
from tccap.host import rootcache
from tccap.paths import SCRIPT

CALLS = {
    "--extcap-interfaces": ("--extcap-interfaces", "--extcap-version=4.0"),
    "--extcap-config": ("--extcap-config", "--extcap-interface", "tccap-veth0"),
    "--extcap-dlts": ("--extcap-dlts", "--extcap-interface", "tccap-veth0"),
    "--extcap-capture-filter": (
        *("--extcap-interface", "tccap-veth0"),
        *("--extcap-capture-filter", "tcp port 443 and host 10.0.0.5"),
    ),
}
MANY = 50  # devices
STEPS = ("import programs", "import", "compile", "load", "services", "attach")
MARK = b"the first packet"
FIRST_PACKET = "first packet in the FIFO"
MEMORY = "MiB of the largest process"
TERMS = (2, 100, 1000)


class EndedError(Exception):
    """The capture ended before a packet was captured."""


def main(*, rounds: int) -> None:
    """Print the tables of the short calls and of a start and stop."""
    with netns.pair() as pair:
        few = {name: _median_ms(pair, call, rounds) for name, call in CALLS.items()}
        for number in range(MANY // 2):
            pair.near.ip("link", "add", f"a{number}", "type", "veth")
        many = {name: _median_ms(pair, call, rounds) for name, call in CALLS.items()}
    bare = _timed_ms(["/usr/bin/python3", "-IS", "-c", ""], rounds)
    rows = [(n, f"{few[n]:.0f}", f"{many[n]:.0f}") for n in CALLS]
    rows.append(("python3 -IS -c ''", f"{bare:.0f}", ""))
    head = ("", "ms, 2 devices", f"ms, {MANY + 2} devices")
    tables.show(f"Short calls, median of {rounds}", head, rows)
    starts = range(max(5, rounds // 2))
    first = []
    for _ in starts:
        shutil.rmtree(rootcache.TOP / "bpf", ignore_errors=True)
        first.append(_start_and_stop())
    # Each filter accepts the test's packets, and was never compiled before.
    new = [_start_and_stop(f"udp and not tcp port {n + 1}") for n in starts]
    later = [_start_and_stop() for _ in starts]
    _show_starts(**{"first ever": first, "new filter": new, "later": later})


def filters(*, rounds: int) -> None:
    """Print what new filters and options cost, also in the folder BEFORE, in turns."""
    scripts = {"": SCRIPT}
    if before := tools.script_before():
        scripts = {" before": before, " after": SCRIPT}
    kinds: dict[str, Callable[[int], tuple[str, ...]]] = {
        "no filter": lambda _: ("",),
        **{f"new filter of {n} terms": partial(_new_filter, n) for n in TERMS},
        "new snaplen": lambda _: ("", "--snaplen", _some_number()),
        "new size of tables": lambda _: ("", "--sockets", _some_number()),
        "no labels, no TLS": lambda _: ("", "--label", "off", "--tls", "off"),
        "full labels": lambda _: ("", "--label", "full"),
    }
    rows = []
    for kind, arguments in kinds.items():
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in scripts}
        for number, (name, script) in product(range(rounds), scripts.items()):
            text, *options = arguments(number)
            with contextlib.suppress(EndedError):
                runs[name].append(_start_and_stop(text, script, *options))
        seconds = (_cell(runs[name], FIRST_PACKET, 2) for name in scripts)
        memory = (_cell(runs[name], MEMORY, 0) for name in scripts)
        rows.append((kind, *seconds, *memory))
    head = [f"{what}{name}" for what in ("s", "MiB") for name in scripts]
    title = (
        f"To the first packet, and memory of the largest process; median of {rounds}"
    )
    tables.show(title, ("", *head), rows)


def _cell(runs: list[dict[str, float]], name: str, digits: int) -> str:
    return f"{_median(runs, name):.{digits}f}" if runs else "failed"


def _some_number() -> str:
    return str(1000 + time.time_ns() % 60_000)


def _new_filter(terms: int, number: int) -> tuple[str]:
    """Return a filter of so many terms that accepts the test's packets."""
    first = 1 + (number + 2) * TERMS[-1] + time.time_ns() % TERMS[-1]
    hosts = (
        f"host 10.{n // 62500}.{n // 250 % 250}.{n % 250 + 1}"
        for n in range(first, first + terms - 1)
    )
    return (" or ".join([*hosts, "udp"]),)


def _show_starts(**kinds: list[dict[str, float]]) -> None:
    names = [name for name in kinds["later"][0] if name != MEMORY]
    rounds = len(kinds["later"])
    rows = [
        (name, *(f"{1000 * _median(runs, name):.0f}" for runs in kinds.values()))
        for name in names
    ]
    title = f"From --capture to the first packet in the FIFO, median of {rounds}"
    tables.show(title, ("", *(f"ms, {kind}" for kind in kinds)), rows)


def _median(runs: list[dict[str, float]], name: str) -> float:
    return statistics.median(run[name] for run in runs)


def _median_ms(pair: netns.Pair, call: tuple[str, ...], rounds: int) -> float:
    with pair.near.entered():  # a child inherits it, without the cost of ip(8)
        return _timed_ms([SCRIPT, *call], rounds)


def _timed_ms(command: list[str], rounds: int) -> float:
    times = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times[1:])  # the first run fills the page cache


def _start_and_stop(
    capture_filter: str = "", script: str = SCRIPT, *options: str
) -> dict[str, float]:
    """Return the seconds of each step, and the memory of the largest process in MiB."""
    with contextlib.ExitStack() as stack:
        pair = stack.enter_context(netns.pair())
        folder = Path(stack.enter_context(tools.folder()))
        log = stack.enter_context(contextlib.closing(Log(folder)))
        stack.enter_context(pair.near.entered())
        sock = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
        sock.connect((pair.far_address, netns.DISCARD_PORT))
        fifo = folder / "fifo"
        os.mkfifo(fifo)
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        stack.callback(os.close, reader)
        logged = ("--log-file", str(log.path), "--log-level", "debug")
        arguments = ("--capture", "--extcap-interface", "tccap-veth0")
        wanted = ("--extcap-capture-filter", capture_filter)
        started = time.perf_counter()
        front = stack.enter_context(
            subprocess.Popen(
                [script, *arguments, *wanted, "--fifo", str(fifo), *logged, *options]
            )
        )
        stack.callback(front.kill)
        header_s, packet_s = _first_bytes(front, reader, sock, started)
        log.wait_for("ready")
        stopping = time.perf_counter()
        front.send_signal(signal.SIGTERM)
        _, status, used = os.wait4(front.pid, 0)
        front.returncode = os.waitstatus_to_exitcode(status)
        stop_s = time.perf_counter() - stopping
        steps = _steps(log.text)
    return {
        "section header in the FIFO": header_s,
        FIRST_PACKET: packet_s,
        # Another checkout may have other steps.
        **{f"  {step} (part of it)": steps.get(step, 0.0) for step in STEPS},
        "SIGTERM to exit": stop_s,
        MEMORY: used.ru_maxrss / 1024,
    }


def _first_bytes(
    front: "subprocess.Popen[bytes]",
    reader: int,
    sock: socket.socket,
    started: float,
) -> tuple[float, float]:
    """Send packets until one is captured; return when header and packet came."""
    header_s = 0.0
    text = b""
    while front.poll() is None:
        sock.send(MARK)
        if select.select([reader], [], [], 0.001)[0]:
            with contextlib.suppress(BlockingIOError):
                text += os.read(reader, 1 << 20)
            now_s = time.perf_counter() - started
            header_s = header_s or (now_s if text else 0.0)
            if MARK in text:
                return header_s, now_s
            if not text:
                time.sleep(0.001)  # the engine has not opened the FIFO yet
    raise EndedError


def _steps(log: str) -> dict[str, float]:
    events = (ast.literal_eval(text) for text in re.findall(r"timing (\{.*\})", log))
    return {event["step"]: event["seconds"] for event in events}
