"""The conditions of a filter, joined, as instructions."""

import pytest
from hypothesis import given

from support.ebpf import Machine
from tccap.filter import cbpf, ebpf, function, language
from tccap.filter.cbpf import FilterError, Insn, Program
from tccap.filter.language import Filter, Packet, Process, parse
from unit.filter.test_language import PID, UID, evaluate, filters, truths

RETURN: dict[bool, Program] = {
    True: (Insn(cbpf.RET, 0, 0, 1),),
    False: (Insn(cbpf.RET, 0, 0, 0),),
}
UNKNOWN = (1 << 64) - 1
NOBODY = {
    offset: UNKNOWN
    for first, last in ((ebpf.PIDS, ebpf.UIDS), (ebpf.UIDS, ebpf.CGROUPS))
    for offset in range(first, last, 8)
} | {ebpf.CGROUPS: 0, ebpf.CGROUPS + 8: 0}


def verdict(of: Filter, inputs: dict[int, int], *, packets: bool = False) -> int:
    code = function.function(of, lambda _: RETURN[packets], lambda _: None)
    ethernet = {ebpf.ETHERNET: 1}
    return Machine(inputs={**NOBODY, **ethernet, **inputs}).run(code)


@given(filters, truths)
def test_conditions_are_joined(of: Filter, truth: dict[Filter, bool]) -> None:
    code = function.function(of, lambda leaf: RETURN[truth[leaf]], lambda _: None)
    inputs = {
        **NOBODY,
        ebpf.ETHERNET: 1,
        ebpf.PIDS: 1 if truth[PID] else UNKNOWN,
        ebpf.UIDS: 0 if truth[UID] else 5,
    }
    expected = evaluate(of, truth.__getitem__, truth.__getitem__)
    assert Machine(inputs=inputs).run(code) == expected


@given(filters, truths)
def test_verdicts_are_kept_for_the_second_stage(
    of: Filter, truth: dict[Filter, bool]
) -> None:
    early, packets = (
        language.packet_only(of),
        tuple(dict.fromkeys(language.packets(of))),
    )
    first = function.keeping(
        early, packets, lambda leaf: RETURN[truth[leaf]], lambda _: None
    )
    machine = Machine(
        inputs={
            **NOBODY,
            ebpf.ETHERNET: 1,
            ebpf.PIDS: 1 if truth[PID] else UNKNOWN,
            ebpf.UIDS: 0 if truth[UID] else 5,
        }
    )
    goes_on = machine.run(first)
    expected = evaluate(of, truth.__getitem__, truth.__getitem__)
    assert (goes_on and machine.run(function.kept(of, packets))) == expected


def test_too_many_conditions_between_words_get_a_sentence() -> None:
    packets = [Packet(str(number)) for number in range(ebpf.VERDICTS_MAX + 1)]
    with pytest.raises(FilterError, match="65 conditions on the packet between words"):
        function.keeping(None, packets, lambda _: None, lambda _: None)


def test_each_kind_of_frame_has_its_programs() -> None:
    code = function.function(Packet("arp"), lambda _: RETURN[True], lambda _: None)
    assert Machine(inputs={ebpf.ETHERNET: 1}).run(code) == 1
    assert Machine(inputs={ebpf.ETHERNET: 0}).run(code) == 0


def test_a_word_is_true_of_either_endpoint() -> None:
    large = (1 << 32) - 1
    for endpoint in (0, 8):
        assert verdict(Process("pid", 7), {ebpf.PIDS + endpoint: 7}) == 1
        assert verdict(Process("uid", large), {ebpf.UIDS + endpoint: large}) == 1
    assert verdict(Process("pid", 7), {ebpf.PIDS: 8}) == 0
    assert verdict(Process("uid", large), {}) == 0


def test_words_about_a_place_read_a_bit_each() -> None:
    whole = parse(" or ".join(f"container c{number}" for number in range(64)))
    second = parse("unit a and unit b")
    for endpoint in (0, 8):
        place = ebpf.CGROUPS + endpoint
        assert all(verdict(whole, {place: 1 << bit}) for bit in range(64))
        assert verdict(second, {place: 3}) == 1
        assert verdict(second, {place: 2}) == 0
    assert verdict(second, {ebpf.CGROUPS: 1, ebpf.CGROUPS + 8: 2}) == 1
    assert verdict(whole, {}) == 0


def test_all_of_a_name_is_compared() -> None:
    name = "abcdefgh1234567"
    first, second = language.comm_words(name)
    for endpoint in (0, 16):
        place = ebpf.COMMS + endpoint
        assert verdict(Process("comm", name), {place: first, place + 8: second}) == 1
        assert verdict(Process("comm", name), {place: first}) == 0
        assert verdict(Process("comm", name), {place + 8: second}) == 0
    assert verdict(Process("comm", ""), {}) == 0


def test_words_about_the_way_of_a_frame() -> None:
    assert verdict(parse("inbound"), {ebpf.INBOUND: 1}) == 1
    assert verdict(parse("outbound"), {ebpf.INBOUND: 1}) == 0
    assert verdict(parse("outbound"), {ebpf.INBOUND: 0}) == 1
    assert verdict(parse("ifindex 3"), {ebpf.IFINDEX: 3}) == 1
    assert verdict(parse("ifindex 3"), {ebpf.IFINDEX: 4}) == 0
