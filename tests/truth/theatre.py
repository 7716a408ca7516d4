"""One performance of all cases, with captures running."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support import running
from tccap.paths import SCRIPT
from truth import claims, packets, play, verdict, world
from truth.claims import Claim, Claims
from truth.packets import Packet
from truth.world import World

MANY_BY_DEFAULT = 200
CHOSEN = "none"  # the claims that tell which processes --pid is given


@dataclass
class Performance:
    """What came of it: the truth, the captures, and what went wrong."""

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


def perform(
    folder: Path, many: int = MANY_BY_DEFAULT, cases: tuple[str, ...] = ()
) -> Performance:
    """Play the cases in front of two captures: of all, and of chosen processes."""
    with world.world() as made:
        (folder / play.WORLD).write_text(made.to_json())
        with _play(made, folder, many, cases) as player:
            _expect(player, "prepared")
            truth = claims.read(folder / play.CLAIMS)
            pids = {str(claim.pid) for claim in truth if claim.protocol == CHOSEN}
            choice = ("--pid", ",".join(pids)) if pids else ()
            with (
                capture(made, folder / "all"),
                capture(made, folder / "chosen", *choice),
            ):
                assert player.stdin
                print(file=player.stdin, flush=True)
                _expect(player, "played")
    return Performance(
        claims=list(claims.read(folder / play.CLAIMS)),
        packets=list(packets.read((folder / "all.pcapng").read_bytes())),
        chosen_packets=list(packets.read((folder / "chosen.pcapng").read_bytes())),
        problems=json.loads((folder / play.PROBLEMS).read_text()),
        log=(folder / "all.log").read_text(),
    )


@contextlib.contextmanager
def capture(made: World, path: Path, *options: str) -> Iterator[None]:
    """Have a capture of all devices run."""
    log, file = path.with_suffix(".log"), path.with_suffix(".pcapng")
    file.touch()
    command = [
        *(sys.executable, SCRIPT, "--capture", "--extcap-interface", "tccap-any"),
        *("--fifo", str(file), "--log-file", str(log), "--log-level", "info"),
        *options,
    ]
    with subprocess.Popen(world.inside(made.here, *command)) as process:
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
def _play(
    made: World, folder: Path, many: int, cases: tuple[str, ...]
) -> "Iterator[subprocess.Popen[str]]":
    command = [sys.executable, "-m", "truth.play", str(folder), str(many), *cases]
    tests = str(Path(__file__).parents[1])
    with subprocess.Popen(
        world.inside(made.here, "env", f"PYTHONPATH={tests}", *command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as player:
        try:
            yield player
        finally:
            player.kill()


def _expect(player: "subprocess.Popen[str]", word: str) -> None:
    assert player.stdout
    said = player.stdout.readline()
    assert said == f"{word}\n", f"{word} was to come, not {said!r}"
