"""A filter in parts means what libpcap makes of it as a whole."""

import pytest

from frames import ethernet_frames
from support.libpcap_oracle import ETHERNET, offline_filter
from tccap.filter import libpcap
from tccap.filter.cbpf import FilterError
from tccap.filter.chunks import chunks

FRAMES = ethernet_frames(400)
HOSTS = [f"10.0.{n // 250}.{n % 250 + 3}" for n in range(40)]
CHAINS = {
    "hosts": " or ".join(f"host {host}" for host in HOSTS),
    "signs": " && ".join(f"!src host {host}" for host in HOSTS),
    "not": " and ".join(f"not port {port}" for port in range(40, 80)),
    "groups": " or ".join(f"(src host {host} and port 53)" for host in HOSTS),
    "in parentheses": f"(({' or '.join(f'host {host}' for host in HOSTS)}))",
    "both": " or ".join(f"src or dst host {host}" for host in HOSTS),
    "networks": " or ".join(f"net 10.0.{n}.0/24" for n in range(40)),
    "IPv6": " or ".join(f"host 2001:db8::{n:x}" for n in range(40)),
    "one word for several": " or ".join(f"port {n} or {n + 1}" for n in range(40, 90)),
    "after not": " and ".join(f"not (host {host} or {host})" for host in HOSTS),
}
WHOLE = {
    "few": " or ".join(f"host {host}" for host in HOSTS[:16]),
    "and with or": " or ".join(f"src host {host} and port 53" for host in HOSTS),
    "what moves the rest": " or ".join([*(f"port {n}" for n in range(40)), "vlan"]),
    "one word for all": "host " + " or ".join(HOSTS),
    "names": " or ".join([*(f"host {host}" for host in HOSTS), "host localhost"]),
    "qualifiers": " or ".join(["src"] * 40),
}


@pytest.mark.parametrize("name", CHAINS)
def test_parts_mean_the_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of frames that are cut off, libpcap's optimiser passes some that it need not."""
    text = CHAINS[name]
    assert len(chunks(text)) > 1
    optimised = offline_filter(libpcap.compile_filter(text, ETHERNET))
    monkeypatch.setattr(libpcap, "MAX_OPTIMISED_INSNS", 0)
    in_parts = offline_filter(libpcap.compile_filter(text, ETHERNET))
    monkeypatch.setattr("tccap.filter.chunks.chunks", lambda whole: [whole])
    plain = offline_filter(libpcap.compile_filter(text, ETHERNET))
    verdicts = [in_parts(frame) for frame in FRAMES]
    for frame, verdict in zip(FRAMES, verdicts, strict=True):
        assert verdict in (plain(frame), optimised(frame))
    assert len(set(verdicts)) == 2


def test_what_libpcap_can_optimise_is_optimised() -> None:
    """Then frames that are cut off get the verdict that tcpdump gives them."""
    text = CHAINS["hosts"]
    assert len(libpcap.compile_filter(text, ETHERNET)) < 200


@pytest.mark.parametrize("name", WHOLE)
def test_other_texts_stay_whole(name: str) -> None:
    assert chunks(WHOLE[name]) == [WHOLE[name]]


@pytest.mark.parametrize(
    ("wrong", "message"), [("host 300.1.1.1.1", "300.1"), ("port port 7", "syntax")]
)
def test_a_mistake_in_a_part_has_libpcaps_message(wrong: str, message: str) -> None:
    text = " or ".join([*(f"host {host}" for host in HOSTS), wrong, "host 10.0.0.1"])
    with pytest.raises(FilterError, match=message):
        libpcap.compile_filter(text, ETHERNET)


@pytest.mark.parametrize(
    "text", ["", "()", "(", ")", "(" * 16000, "(" * 9000 + ")" * 9000]
)
def test_parentheses_take_no_time(text: str) -> None:
    assert chunks(text) == [text]
