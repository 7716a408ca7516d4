"""The log: sentences for people, and at the level debug all that the engine reports."""

import dataclasses
import logging
import subprocess
import sys

import pytest

from tccap.front import logfile
from tccap.ipc.status import End, Event, Log, Lost, Output, Ready, Timing, TlsCounts

END = End(9, 8, 3, 0, complete=True, undelivered=0)
FULL_TABLES = End(9, 8, 0, 4, True, 0, overflowed_sockets=5, overflowed_processes=6)


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        (Ready(), "Packets are captured from now on."),
        (Lost(7), "7 packets were lost so far: the reader is too slow."),
        (END, "8 of 9 packets matched the filters; 3 of these were lost."),
        (
            FULL_TABLES,
            (
                "8 of 9 packets matched the filters; 0 of these were lost. "
                "4 were left out as their process is not known. "
                "5 sockets were too many: raise sockets. "
                "6 packets have no process: raise processes."
            ),
        ),
        (
            dataclasses.replace(END, dropped=0, unrecorded_sockets=2),
            (
                "8 of 9 packets matched the filters; 0 of these were lost. "
                "2 times the kernel had no memory to record who uses a socket, "
                "whose packets may have no process."
            ),
        ),
        (
            TlsCounts({"connections": 2, "with_secrets": 1}),
            "TLS: the secrets of 1 of 2 connections were found.",
        ),
        (Log("info", "The clock was set."), "The clock was set."),
    ],
)
def test_events_are_sentences(
    event: Event, sentence: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "tccap"):
        logfile.record(event)
    assert [record.getMessage() for record in caplog.records] == [sentence]


@pytest.mark.parametrize("event", [Timing("load", 0.5), Output("a line")])
def test_what_is_for_developers_is_at_the_level_debug(
    event: Event | Output, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "tccap"):
        logfile.record(event)
    assert [record.levelname for record in caplog.records] == ["DEBUG"]


FULL = """
from tccap.front import logfile
logfile.start("/dev/full", "debug")
logfile.LOG.warning("one")
logfile.LOG.warning("two")
"""


def test_a_log_that_cannot_be_written_ends_with_one_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL], capture_output=True, text=True, check=True
    )
    assert done.stderr == (
        "The log file /dev/full ends here: No space left on device.\n"
    )
