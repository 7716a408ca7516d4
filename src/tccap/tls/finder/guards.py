"""The control flow of one function, backwards: what decides whether a call is made."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from capstone import x86

from tccap.tls.finder.calls import FUNCTION_LEN_MAX
from tccap.tls.finder.code import (
    Decoder,
    Instruction,
    is_call,
    is_conditional,
    is_end,
    is_jump,
    target_of,
)
from tccap.tls.finder.image import Image

_BACK_MAX = 40  # instructions from a jump to the call that it guards
_WAY_MAX = 24  # instructions before a jump that may load and test the callback


@dataclass(frozen=True)
class Guard:
    """A conditional jump before a call, and where it goes on to the call or past it."""

    jump: int
    call_at: int  # the next address towards the call
    past_at: int


class Graph:
    """The control flow of the function around an address."""

    def __init__(self, image: Image, decoder: Decoder, inside: int) -> None:
        self._before: dict[int, set[int]] = defaultdict(set)
        self._after: dict[int, set[int]] = {}
        self._instructions: dict[int, Instruction] = {}
        low, high = image.functions.around(inside) or (inside, inside)
        at = low
        while at < min(high, low + FUNCTION_LEN_MAX):
            instruction = decoder.at(at)
            if instruction is None:
                break
            self._add(instruction, low, high)
            at += instruction.size
        self._remove_padding()

    def _add(self, instruction: Instruction, low: int, high: int) -> None:
        after = {place for place in successors(instruction) if low <= place < high}
        self._instructions[instruction.address] = instruction
        self._after[instruction.address] = after
        for place in after:
            self._before[place].add(instruction.address)

    def _remove_padding(self) -> None:
        """Take out what fills the space behind jumps: nothing leads there."""
        for place, instruction in list(self._instructions.items())[1:]:
            if instruction.id == x86.X86_INS_NOP and not self._before[place]:
                for after in self._after[place]:
                    self._before[after].discard(place)

    def guards(self, call: int) -> Iterator[Guard]:
        """Yield the last conditional jumps before a call, with no call between."""
        waiting, seen = [(call, 0)], set()
        while waiting:
            place, distance = waiting.pop()
            for before in self._before[place]:
                instruction = self._instructions[before]
                if (before, place) in seen or distance > _BACK_MAX:
                    continue
                seen.add((before, place))
                if is_conditional(instruction):
                    [past] = {*successors(instruction)} - {place} or {place}
                    yield Guard(before, place, past)
                elif not is_call(instruction):
                    waiting.append((before, distance + 1))

    def ways_to(self, jump: int) -> Iterator[list[int]]:
        """Yield the instructions that always lead to a jump, ever more of them."""
        way = [jump]
        while len(way) < _WAY_MAX:
            if len(self._before[way[0]]) != 1:
                return
            [place] = self._before[way[0]]
            if is_call(self._instructions[place]):
                return
            way.insert(0, place)
            yield way

    def reachable(self, start: int) -> set[int]:
        """Return the instructions that can follow within the function."""
        waiting, found = [start], set[int]()
        while waiting:
            place = waiting.pop()
            if place not in found and place in self._instructions:
                found.add(place)
                waiting += self._after[place]
        return found


def successors(instruction: Instruction) -> Iterable[int]:
    """Yield where execution may go on, as far as the instruction says."""
    target = target_of(instruction) if is_jump(instruction) else None
    if target is not None:
        yield target
    if not is_end(instruction) and (
        not is_jump(instruction) or is_conditional(instruction)
    ):
        yield instruction.address + instruction.size
