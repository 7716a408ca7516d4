"""Data flow: from an instruction that loads a label to the calls that get it."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from tccap.tls.finder.code import (
    Decoder,
    Instruction,
    Place,
    is_call,
    is_conditional,
    is_end,
    is_jump,
    place_of,
    register_name,
    target_of,
)
from tccap.tls.finder.image import Image

ARGUMENTS = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")  # psABI x86-64, 3.2.3
CALLER_SAVED = frozenset((*ARGUMENTS, "rax", "r10", "r11"))
STEPS_MAX = 2000  # instructions followed from one reference
_NEIGHBOURHOOD_LEN = 0x4000  # how far to follow jumps if there is no unwind information

State = dict[Place, str]  # the label whose address a place holds


@dataclass(frozen=True)
class Use:
    """A call, or a jump to another function, that gets a label as an argument.

    ``target`` is None if it goes through a register or through memory.
    """

    call: int
    target: int | None
    argument: int
    label: str


class Tracer:
    """Follows labels through the code of one image."""

    def __init__(
        self, image: Image, decoder: Decoder, references: dict[int, str]
    ) -> None:
        self._image = image
        self._references = references
        self._decoder = decoder

    def uses(self) -> Iterator[Use]:
        """Yield the uses of all references."""
        for start in sorted(self._references):
            yield from self._follow(start)

    def _follow(self, start: int) -> Iterator[Use]:
        near = (start - _NEIGHBOURHOOD_LEN, start + _NEIGHBOURHOOD_LEN)
        low, high = self._image.functions.around(start) or near
        work: list[tuple[int, State]] = [(start, {})]
        seen: set[tuple[int, frozenset[tuple[Place, str]]]] = set()
        while work and len(seen) < STEPS_MAX:
            at, state = work.pop()
            key = (at, frozenset(state.items()))
            instruction = None if key in seen else self._decoder.at(at)
            if instruction is None:
                continue
            seen.add(key)
            leaves = (
                is_jump(instruction) and not low <= (target_of(instruction) or 0) < high
            )
            if is_call(instruction) or leaves:
                yield from self._arguments(instruction, state)
            for place, then in self._step(instruction, state):
                if low <= place < high and then:
                    work.append((place, then))

    def _arguments(self, instruction: Instruction, state: State) -> Iterator[Use]:
        target = target_of(instruction)
        function = None if target is None else self._image.called(target)
        for n, register in enumerate(ARGUMENTS):
            if register in state:
                yield Use(instruction.address, function, n, state[register])

    def _step(
        self, instruction: Instruction, state: State
    ) -> Iterator[tuple[int, State]]:
        """Yield (next address, state there) of each way that execution may take."""
        behind = instruction.address + instruction.size
        if is_call(instruction):
            yield behind, {p: v for p, v in state.items() if p not in CALLER_SAVED}
        elif is_jump(instruction):
            target = target_of(instruction)
            if target is not None:
                yield target, state
            if is_conditional(instruction):
                yield behind, state
        elif not is_end(instruction):
            yield behind, self._changed(instruction, state)
            if instruction.mnemonic.startswith("cmov"):
                yield behind, state

    def _changed(self, instruction: Instruction, state: State) -> State:
        """Return the state after an instruction that is no branch."""
        operands = instruction.operands
        label = self._references.get(instruction.address)
        if label is None and instruction.mnemonic.startswith(("mov", "cmov")):
            label = state.get(place_of(instruction, operands[1]) or "")
        state = dict(state)
        for register in instruction.regs_access()[1]:
            state.pop(register_name(instruction, register), None)
        goes_to = place_of(instruction, operands[0]) if operands else None
        if goes_to and instruction.mnemonic.startswith(("mov", "cmov", "lea")):
            state.pop(goes_to, None)
            if label is not None:
                state[goes_to] = label
        return state


def candidates(image: Image, uses: list[Use]) -> list[tuple[int, int, set[str]]]:
    """Return (own function, argument, labels), most labels first."""
    labels: dict[tuple[int, int], set[str]] = defaultdict(set)
    for use in uses:
        if use.target is not None and image.elf.is_code(use.target):
            labels[use.target, use.argument].add(use.label)
    own = [(t, n, found) for (t, n), found in labels.items() if not image.imported(t)]
    return sorted(own, key=lambda candidate: (-len(candidate[2]), candidate[:2]))
