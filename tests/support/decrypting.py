"""A live tshark that decrypts the TLS of programs."""

import ast
import contextlib
import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

from support import running
from support.netns import Namespace
from support.wireshark import Captures, Log, Wireshark, watch

READY = "tls_ready"  # libraries in use so far are probed
PREFERENCE = "extcap.tccap_lo"
SHOWN = "http || http2 || http3 || (dtls && data)"
FIELDS = (
    *("http.request.uri", "http.response.code", "http.response_for.uri"),
    *("http2.headers.path", "http2.header.value", "http3.frame_payload", "data.data"),
)
# A header of responses: tshark does not relate HTTP/2 responses to their requests.
PAGE_MARK = "page=/"
# The body of a page by HTTP/3, of which tshark 4.0 shows no headers, and by DTLS.
_BODY = re.compile(rb"the body of /([^;]+);")


class Seen(NamedTuple):
    """Names of the pages whose requests and responses tshark has shown."""

    requests: set[str]
    responses: set[str]
    by_http2: set[str]  # those of the responses that came by HTTP/2


class Decrypting:
    """A running tshark, and the HTTP that it has shown so far."""

    def __init__(self, captures: Captures, log: Log) -> None:
        self.captures = captures
        self.counts: dict[str, Any] = {}
        self._log = log
        assert captures.process.stdout
        self._shown = running.Collector(captures.process.stdout.buffer)  # type: ignore[attr-defined]

    def wait_for_log(self, text: str) -> None:
        """Return when the log holds the text."""
        self._log.wait_for(text)

    def has_logged(self, text: str) -> bool:
        """Return whether the log holds the text by now."""
        return self._log.has(text)

    def logged(self, text: str) -> int:
        """Return how often the log holds the text by now."""
        self._log.has(text)  # reads what was written
        return self._log.text.count(text)

    def wait_for(self, name: str) -> None:
        """Return when tshark has shown the response with a page."""
        running.until(lambda: name in self.seen().responses, f"the response {name}")

    def seen(self) -> Seen:
        """Return the pages that tshark has shown so far."""
        return _seen(self._shown.so_far())

    def join(self) -> None:
        """Return when a killed tshark has closed its pipe."""
        self._shown.rest()

    def end(self) -> Seen:
        """Stop tshark; return the pages that it has shown, and set ``counts``."""
        self.captures.interrupt()
        self._log.wait_for("tls_counts {")
        self.captures.process.wait(running.DEADLINE_S)
        match = re.search(r"tls_counts (\{.*\})", self._log.text)
        assert match
        self.counts = ast.literal_eval(match[1])["counts"]
        return _seen(self._shown.rest())

    def waits(self) -> str:
        """Return a text: how long packets were held."""
        median_ms, longest_ms = (
            1000 * self.counts[f"{which}_wait_s"] for which in ("median", "longest")
        )
        return f"packets waited {median_ms:.1f} ms (median), {longest_ms:.1f} (longest)"


def _seen(shown: bytes) -> Seen:
    requests: set[str] = set()
    responses: set[str] = set()
    by_http2: set[str] = set()
    whole, _, _ = shown.decode().rpartition("\n")
    for line in whole.splitlines():
        uri, code, of, path, values, *payloads = line.split("\t")
        requests |= {uri.removeprefix("/"), *path.replace("/", "").split(",")}
        if code == "200":
            responses.add(of.rpartition("/")[2])
        marks = [value for value in values.split(",") if value.startswith(PAGE_MARK)]
        by_http2 |= {mark.removeprefix(PAGE_MARK) for mark in marks}
        contents = ",".join(payloads).split(",")
        responses |= {name for each in contents for name in _pages(each)}
    requests.discard("")
    return Seen(requests, responses | by_http2, by_http2)


def _pages(payload: str) -> set[str]:
    """Return the names of the pages in the content of a frame or record, in hex."""
    return {name.decode() for name in _BODY.findall(bytes.fromhex(payload))}


@contextlib.contextmanager
def decrypting(
    wireshark: Wireshark, space: Namespace, *options: str
) -> Iterator[Decrypting]:
    """Yield a tshark that captures live, and shows HTTP in its first pass."""
    shown = [word for name in FIELDS for word in ("-e", name)]
    with ExitStack() as stack:
        log = Log(wireshark.temporary)
        stack.callback(log.close)
        chosen = (f"logfile:{log.path}", "loglevel:debug", *options)
        ours = [word for one in chosen for word in ("-o", f"{PREFERENCE}.{one}")]
        command = (
            "tshark",
            "-l",
            "-i",
            "tccap-lo",
            *ours,
            "-Y",
            SHOWN,
        )
        full = wireshark.command(space, *command, "-T", "fields", *shown)
        captures = stack.enter_context(watch(space, full, [log], wireshark.environment))
        running_tshark = Decrypting(captures, log)
        try:
            yield running_tshark
        finally:
            captures.process.kill()
            running_tshark.join()
