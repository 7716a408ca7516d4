"""One run of all cases, with captures running."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support import running
from support.netns import Namespace
from tccap.paths import SCRIPT
from truth import claims, packets, verdict, worker_main
from truth.claims import Claim, Claims
from truth.network import Network, inside, network
from truth.packets import Packet

MANY_BY_DEFAULT = 200
CHOSEN = "none"  # the protocol of claims that name the processes for --pid


@dataclass
class Run:
    """The truth, the two captures, and the exceptions of the cases, of one run."""

    claims: list[Claim]
    packets: list[Packet]
    chosen_packets: list[Packet]
    problems: dict[str, str]
    log: str

    def report(self) -> verdict.Report:
        """Return the verdicts on the capture of all packets."""
        return verdict.Report(verdict.judge(self.packets, Claims(iter(self.claims))))

    def chosen(self) -> set[int]:
        """Return the processes that the second capture was asked for."""
        return {claim.pid for claim in self.claims if claim.protocol == CHOSEN}


def run_cases(
    folder: Path,
    many: int = MANY_BY_DEFAULT,
    cases: tuple[str, ...] = (),
    options: tuple[str, ...] = (),
) -> Run:
    """Run the cases under two captures: of all, and of chosen processes."""
    with network() as made:
        (folder / worker_main.NETWORK).write_text(made.to_json())
        with _worker_main(made, folder, many, cases) as process:
            _expect(process, "prepared")
            truth = claims.read(folder / worker_main.CLAIMS)
            pids = {str(claim.pid) for claim in truth if claim.protocol == CHOSEN}
            choice = ("--pid", ",".join(pids)) if pids else ()
            with (
                capture(made.here, folder / "all", *options),
                capture(made.here, folder / "chosen", *choice),
            ):
                assert process.stdin
                print(file=process.stdin, flush=True)
                _expect(process, "done")
    return Run(
        claims=list(claims.read(folder / worker_main.CLAIMS)),
        packets=list(packets.read((folder / worker_main.CAPTURE).read_bytes())),
        chosen_packets=list(packets.read((folder / "chosen.pcapng").read_bytes())),
        problems=json.loads((folder / worker_main.PROBLEMS).read_text()),
        log=(folder / "all.log").read_text(),
    )


@contextlib.contextmanager
def capture(space: Namespace, path: Path, *options: str) -> Iterator[None]:
    """Capture all devices, into PATH.pcapng, while the block runs."""
    log, file = path.with_suffix(".log"), path.with_suffix(".pcapng")
    file.touch()
    command = [
        *(sys.executable, SCRIPT, "--capture", "--extcap-interface", "tccap-any"),
        *("--fifo", str(file), "--log-file", str(log), "--log-level", "debug"),
        *options,
    ]
    with subprocess.Popen(inside(space, *command)) as process:
        try:
            _wait_until_ready(process, log)
            yield
        finally:
            process.terminate()
        assert process.wait(running.DEADLINE_S) == 0, log.read_text()


def _wait_until_ready(process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + running.DEADLINE_S
    while not (log.exists() and " ready " in log.read_text()):
        assert process.poll() is None, log.read_text() if log.exists() else "no log"
        assert time.monotonic() < deadline, "the capture does not start"
        time.sleep(0.05)


@contextlib.contextmanager
def _worker_main(
    made: Network, folder: Path, many: int, cases: tuple[str, ...]
) -> "Iterator[subprocess.Popen[str]]":
    module = [sys.executable, "-m", "truth.worker_main", str(folder), str(many)]
    tests = str(Path(__file__).parents[1])
    with subprocess.Popen(
        inside(made.here, "env", f"PYTHONPATH={tests}", *module, *cases),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _expect(process: "subprocess.Popen[str]", word: str) -> None:
    assert process.stdout
    line = process.stdout.readline()
    assert line == f"{word}\n", f"expected {word}, not {line!r}"
