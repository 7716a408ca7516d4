"""Running code that calls rustls's key log, up to the call and behind it.

The trait of key logs has two methods, which are called through pointers:

    fn will_log(&self, label: &str) -> bool
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8])

A slice is two arguments, its address and its length.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from capstone import x86

from tccap.tls.finder.code import (
    Decoder,
    Instruction,
    Operand,
    constant_of,
    is_call,
    is_conditional,
    is_end,
    is_jump,
    memory_registers,
    register_name,
    rip_target,
    target_of,
)
from tccap.tls.finder.flow import CALLER_SAVED
from tccap.tls.finder.image import Image
from tccap.tls.finder.machine import REGISTERS, Machine
from tccap.tls.finder.memory import WORD
from tccap.tls.finder.oracle import RANDOM_LEN
from tccap.tls.finder.stubs import STUBS
from tccap.tls.sites import SECRET_LENS, Number, Path

_OBJECT, _LABEL, _LABEL_LEN, _RANDOM, _RANDOM_LEN, _SECRET = range(6)
_STEPS_MAX = 80
_LIMITS = (64, 65)  # rustls keeps a secret in 64 bytes, and compares its length to that


@dataclass(frozen=True)
class Label:
    """A label in the file; ``entry`` is its offset in a table that code refers to."""

    address: int
    text: str
    entry: int | None = None


@dataclass(frozen=True)
class Question:
    """A call of `will_log`, run up to the jump that depends on its answer."""

    machine: Machine  # as it is at the jump
    call: int
    called: int  # the object
    jump: int
    if_true: int  # the next address if a secret is wanted


@dataclass(frozen=True)
class LogCall:
    """A call of `log`; the arguments are expressed by the registers at a jump."""

    call: int
    called: Path
    label: int | Path
    label_len: int | Number
    client_random: Path
    secret: Path
    secret_len: Number


@dataclass(frozen=True)
class LabelledCall:
    """A call through a pointer that gets a label and its exact length."""

    machine: Machine
    instruction: Instruction

    @property
    def logs(self) -> bool:
        """Whether it gets the length of client_random, too: it calls `log`."""
        return self.machine.argument(_RANDOM_LEN) == RANDOM_LEN

    @property
    def stacked(self) -> int:
        """The seventh argument: of `log`, the secret's length."""
        return self.machine.word(self.machine.register("rsp")) or 0


class Runner:
    """Runs pieces of one image's code."""

    def __init__(self, image: Image, decoder: Decoder) -> None:
        self._image, self._decoder = image, decoder

    def reach(self, start: int, reference: int, label: Label) -> LabelledCall | None:
        """Run to the call that gets the label which is loaded at ``reference``."""
        machine, at, passed = self._machine({}), start, False
        for _ in range(_STEPS_MAX):
            instruction = self._decoder.at(at)
            if instruction is None or is_jump(instruction) or is_end(instruction):
                return None
            passed = passed or at == reference
            if passed and is_call(instruction) and _gets(machine, label):
                is_virtual = _is_through_pointer(instruction)
                return LabelledCall(machine, instruction) if is_virtual else None
            after = _step_over(machine, instruction, label.entry)
            if after is None:
                return None
            at = after
        return None

    def ask(self, start: int, reference: int, label: Label) -> Question | None:
        """Run over a call of `will_log` to the jump that depends on its answer."""
        ways = []
        for answer in (0, 1):
            call = self.reach(start, reference, label)
            way = self._to_jump(call, answer) if call else None
            if way is None:
                return None
            ways.append(way)
        no, yes = ways
        return yes if no.jump == yes.jump and no.if_true != yes.if_true else None

    def _to_jump(self, call: LabelledCall, answer: int) -> Question | None:
        machine, at = call.machine, call.instruction.address + call.instruction.size
        called = machine.argument(_OBJECT)
        _forget(machine)
        # The answer is the low byte; the others may be anything.
        machine.set_register("rax", machine.register("rax") & ~0xFF | answer)
        for _ in range(_STEPS_MAX):
            instruction = self._decoder.at(at)
            if instruction is None or is_call(instruction):
                return None
            after = machine.step(at)
            if after is None:
                return None
            if is_conditional(instruction):
                return Question(machine, call.instruction.address, called, at, after)
            at = after
        return None

    def log_call(self, start: int) -> LogCall | None:
        """Return the call of `log` that follows; None unless it gets what `log` gets.

        The secret's length must be a word in memory, or in a register: what is put
        there must arrive.
        """
        for word in self._to_log(start, {})[1]:
            found = {self._with_length(start, word, n) for n in SECRET_LENS}
            if len(found) == 1:
                return found.pop()
        return None

    def _with_length(self, start: int, word: Path, length: int) -> LogCall | None:
        """Return the call of `log` if the secret's length there is that in a word."""
        call, _ = self._to_log(start, {word: length})
        if call is None or not call.logs or call.stacked != length:
            return None
        fakes, argument = call.machine.fakes, call.machine.argument
        pointers = [fakes.path_to(argument(n)) for n in (_OBJECT, _RANDOM, _SECRET)]
        called, random, secret = pointers
        label: int | Path | None = argument(_LABEL)
        label_len: int | Number | None = argument(_LABEL_LEN)
        if fakes.holds(argument(_LABEL)):
            label = fakes.path_to(argument(_LABEL))
            label_len = fakes.number(argument(_LABEL_LEN))
        if not (called and random and secret) or label is None or label_len is None:
            return None
        at, size = call.instruction.address, Number(word, WORD.size)
        return LogCall(at, called, label, label_len, random, secret, size)

    def _to_log(
        self, start: int, words: Mapping[Path, int]
    ) -> tuple[LabelledCall | None, list[Path]]:
        """Run to the next call through a pointer.

        Return it, and the words that may be the secret's length.
        """
        machine, at = self._machine(words), start
        numbers: list[int] = []
        call = None
        for _ in range(_STEPS_MAX):
            instruction = self._decoder.at(at)
            if instruction is None:
                break
            if _is_through_pointer(instruction):
                call = LabelledCall(machine, instruction)
                numbers.append(call.stacked)
                break
            numbers += _compared(machine, instruction)
            after = machine.step(at)
            if after is None:
                break
            at = after
        origins = (_origin(machine, number) for number in numbers)
        return call, [origin for origin in origins if origin]

    def _machine(self, words: Mapping[Path, int]) -> Machine:
        """Return a machine with fakes, but numbers in words of memory or registers."""
        machine = Machine(self._image, STUBS, words=words)
        for register in REGISTERS:
            fake = machine.fakes.make(register)
            machine.set_register(register, words.get(Path(register, ()), fake))
        return machine


def number_at(machine: Machine, number: Number) -> int | None:
    """Return a number of 8 bytes; None if it cannot be read."""
    place = machine.follow(number.path)
    if place is None or not number.path.offsets:
        return place
    return machine.word(place)


def _is_through_pointer(instruction: Instruction) -> bool:
    """Return whether it is a call whose target is not written in the file."""
    targets = target_of(instruction), rip_target(instruction)
    return is_call(instruction) and targets == (None, None)


def _origin(machine: Machine, number: int) -> Path | None:
    """Return where a number came from: a word of memory, or a register."""
    origin = machine.fakes.word_with(number)
    if isinstance(origin, str):
        return Path(origin, ())
    return machine.fakes.path_of_word(number)


def _gets(machine: Machine, label: Label) -> bool:
    at = machine.argument(_LABEL) - machine.bias
    return (at, machine.argument(_LABEL_LEN)) == (label.address, len(label.text))


def _forget(machine: Machine) -> None:
    """Change all registers that a call may change."""
    for register in CALLER_SAVED:
        machine.set_register(register, machine.fakes.make(register))


def _step_over(
    machine: Machine, instruction: Instruction, entry: int | None
) -> int | None:
    """Run an instruction, but no call; return the next address."""
    if is_call(instruction):
        _forget(machine)
        return int(instruction.address + instruction.size)
    if entry is not None:
        for operand in instruction.operands:
            _choose(machine, instruction, operand, entry)
    return machine.step(instruction.address)


def _choose(
    machine: Machine, instruction: Instruction, operand: Operand, entry: int
) -> None:
    """Have a load from a table in the file read an entry: set the index to it.

    ``entry`` is that in the table of labels. One of their lengths may be beside it.
    """
    registers = memory_registers(instruction, operand)
    if len(registers) != 2 or not all(r in REGISTERS for r in registers):
        return
    is_fake = [machine.fakes.holds(machine.register(r)) for r in registers]
    element_at = entry // WORD.size * operand.size
    index, rest = divmod(element_at - operand.mem.disp, operand.mem.scale)
    if rest == 0 and is_fake == [False, True]:
        machine.set_register(registers[1], index)
    elif is_fake == [True, False] and operand.mem.scale == 1:
        machine.set_register(registers[0], index)


def _compared(machine: Machine, instruction: Instruction) -> list[int]:
    """Return the value that a comparison with _LIMITS has."""
    if instruction.mnemonic != "cmp" or constant_of(instruction) not in _LIMITS:
        return []
    operand = instruction.operands[0]
    if operand.type == x86.X86_OP_MEM:
        address = machine.address_of(instruction, operand)
        word = None if address is None else machine.word(address)
        return [] if word is None else [word]
    name = register_name(instruction, operand.reg)
    return [machine.register(name)] if name in REGISTERS else []
