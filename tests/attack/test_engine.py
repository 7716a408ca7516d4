"""Ordinary users against an engine, its helpers, and what belongs to it.

The engine is started as sudo starts it for a member of the group: as root, with the
user's id in SUDO_UID. tests/install/test_users.py has the real sudo.
"""

import contextlib
import json
import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import expressions
import hostile
from attack import attempts
from support import netns, running, stream, tc
from tccap.host.access import LIMITS
from truth import packets

MEMBER, OUTSIDER = 4711, 4712
SLOTS = LIMITS["captures-per-user"]


def as_user(uid: int, code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        running.python(attempts.PREPARE + code),
        user=uid,
        group=uid,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )


def command(space: netns.Namespace, uid: int) -> list[str]:
    return space.command(
        "env", f"SUDO_UID={uid}", f"SUDO_GID={uid}", *running.engine_command()
    )


@contextlib.contextmanager
def engine_of(
    space: netns.Namespace, uid: int, **changes: Any
) -> Iterator[running.Engine]:
    """Yield an engine that was started for a user, and has got its Plan."""
    with subprocess.Popen(
        command(space, uid),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin
        assert process.stdout
        engine = running.Engine(process, running.Collector(process.stdout))
        try:
            plan = {**running.PLAN, "device": "veth0", **changes}
            process.stdin.write(json.dumps(plan).encode() + b"\n")
            process.stdin.flush()
            yield engine
        finally:
            process.kill()
            engine.join()


@pytest.fixture(scope="module")
def pair() -> Iterator[netns.Pair]:
    with netns.pair() as made:
        yield made
        assert tc.left(made.near) == []


@pytest.fixture(scope="module", params=["engine", "carrier"])
def target(request: pytest.FixtureRequest, pair: netns.Pair) -> Iterator[int]:
    with engine_of(pair.near, MEMBER) as engine:
        engine.wait_for('"ready"')
        pid = engine.process.pid
        yield pid if request.param == "engine" else running.carrier(pid)
        assert engine.process.poll() is None


@pytest.mark.parametrize("uid", [MEMBER, OUTSIDER], ids=["member", "outsider"])
@pytest.mark.parametrize("name", attempts.ON_THE_ENGINE)
def test_a_user_cannot(name: str, uid: int, target: int, counted: Counter[str]) -> None:
    code = f"TARGET = {target}\n{attempts.ON_THE_ENGINE[name]}\nprint('succeeded')"
    done = as_user(uid, code)
    assert done.stdout == ""
    assert re.search(r"PermissionError|not permitted|denied", done.stderr), done.stderr
    counted["on the engine, by users"] += 1


def _status(pid: int) -> dict[str, str]:
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{pid}/status").read_text()
        return dict(re.findall(r"^(\w+):\t(.*)$", text, re.MULTILINE))
    return {}


def _confined(parent: int) -> list[int]:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(each) for each in children if _status(int(each)).get("Seccomp") == "2"]


def test_libpcap_is_the_member_and_cannot_be_traced(
    pair: netns.Pair, counted: Counter[str]
) -> None:
    """libpcap needs seconds for so many hosts that cannot be split."""
    filters = [f"tcp and ({expressions.many_hosts(1500)})"]
    with engine_of(pair.near, MEMBER, filters=filters) as engine:
        pid = engine.process.pid
        running.until(lambda: _confined(pid), "a child")
        [child] = _confined(pid)
        status = _status(child)
        assert set(status["Uid"].split()) == {str(MEMBER)}
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
        for name in ("trace it", "read its memory", "list its descriptors"):
            code = f"TARGET = {child}\n{attempts.ON_THE_ENGINE[name]}"
            assert "PermissionError" in as_user(MEMBER, code).stderr, name
            counted["on libpcap's process, by its user"] += 1


def test_no_user_takes_all_room_for_programs(
    pair: netns.Pair, counted: Counter[str]
) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(SLOTS):
            engine = stack.enter_context(engine_of(pair.near, OUTSIDER))
            engine.wait_for('"ready"')
        for _ in range(4):
            refused = stack.enter_context(engine_of(pair.near, OUTSIDER))
            assert refused.process.wait(running.DEADLINE_S) == 1
            refused.wait_for(f"You have {SLOTS} captures already")
            counted["one capture more than a user may have"] += 1
        other = stack.enter_context(engine_of(pair.near, OUTSIDER + 1))
        other.wait_for('"ready"')


def test_there_are_many_kinds_of_hostile_plans() -> None:
    assert len(hostile.PLANS) >= 50
    assert len(set(hostile.PLANS.values())) == len(hostile.PLANS)


@pytest.mark.parametrize("kind", hostile.PLANS)
def test_a_members_plan_gets_a_sentence(
    pair: netns.Pair, kind: str, counted: Counter[str]
) -> None:
    done = subprocess.run(
        command(pair.near, MEMBER),
        input=hostile.PLANS[kind],
        capture_output=True,
        check=False,
        timeout=running.DEADLINE_S,
    )
    assert done.returncode == 1
    events = [json.loads(line) for line in done.stderr.splitlines()]
    [message] = [e["message"] for e in events if e["event"] == "error"]
    assert len(message) < 1000
    assert not re.search(r"\n|Error|Traceback|failed:", message)
    # What is found out late, a device that is not there, may leave a header.
    found = stream.parse(done.stdout)
    assert (found.interfaces, found.frames) == ([], [])
    counted["by Plans, as a member"] += 1


@pytest.mark.parametrize(
    "wish", [{"tls": "all"}, {"tls": "own", "tls_libraries": ["/usr/bin/curl"]}]
)
def test_secrets_of_others_are_refused(
    pair: netns.Pair, wish: dict[str, Any], counted: Counter[str]
) -> None:
    with engine_of(pair.near, MEMBER, **wish) as engine:
        assert engine.process.wait(running.DEADLINE_S) == 1
        engine.wait_for("Only root can")
    counted["by Plans, as a member"] += 1


SENDER = """
import socket, sys, time
sender = socket.socket(type=socket.SOCK_DGRAM)
while True:
    sender.sendto(b"sent", (sys.argv[1], 9))
    time.sleep(0.01)
"""


def test_a_full_label_has_threads_of_ones_own_only(
    pair: netns.Pair, counted: Counter[str]
) -> None:
    def sender(uid: int) -> list[str]:
        user = ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups")
        python = running.python(SENDER)
        return pair.near.command(*user, *python, pair.far_address)

    with engine_of(pair.near, MEMBER, label="full", direction="out") as engine:
        engine.wait_for('"ready"')
        assert engine.output
        with running.started(sender(MEMBER)), running.started(sender(OUTSIDER)):
            for sought in (f"uid={OUTSIDER}", " args=", " tid="):
                engine.output.wait_for(sought.encode())
        engine.end()
        labels = [p.label for p in packets.read(engine.output.rest())]
    assert {each["uid"] for each in labels if "tid" in each} == {str(MEMBER)}
    counted["on threads of others, by labels"] += 1


@pytest.mark.parametrize("claimed", ["0", "4711", "x", "-1"])
def test_nobody_becomes_root_by_saying_so(claimed: str, counted: Counter[str]) -> None:
    """Without sudo the engine has its user's rights, whatever it is told."""
    plan_fd, write_fd = os.pipe()  # open, so that the engine is not asked to stop
    os.write(write_fd, json.dumps({**running.PLAN, "device": "lo"}).encode() + b"\n")
    with os.fdopen(plan_fd, "rb") as plan, os.fdopen(write_fd, "wb"):
        done = subprocess.run(
            [
                "env",
                f"SUDO_UID={claimed}",
                f"SUDO_GID={claimed}",
                *running.engine_command(),
            ],
            stdin=plan,
            user=OUTSIDER,
            group=OUTSIDER,
            extra_groups=[],
            capture_output=True,
            check=False,
        )
    assert done.returncode == 1
    assert stream.parse(done.stdout).frames == []
    counted["as an engine without sudo"] += 1


def test_a_member_cannot_have_root_write_a_file(
    pair: netns.Pair, tmp_path: Path, counted: Counter[str]
) -> None:
    with (tmp_path / "file").open("wb") as file:
        done = subprocess.run(
            command(pair.near, MEMBER),
            input=json.dumps({**running.PLAN, "device": "veth0"}).encode() + b"\n",
            stdout=file,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 1
    assert b"Only root can capture into anything but Wireshark's FIFO." in done.stderr
    assert (tmp_path / "file").read_bytes() == b""
    counted["having root write a file"] += 1
