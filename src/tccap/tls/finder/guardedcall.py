"""Running the code from a jump to the log call behind it, on an emulated processor.

A jump is proven by running the code before it, too: it must go to the call if the word
that the call takes its callback from holds something, and past it if that is zero. Then
the arguments of the call are expressed by the registers at the jump: the code behind it
runs with a fake object (`memory`) in every register.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from capstone import x86

from tccap.tls.finder.code import (
    Decoder,
    Instruction,
    Operand,
    is_call,
    is_conditional,
    is_jump,
    register_name,
    target_of,
)
from tccap.tls.finder.flow import CALLER_SAVED
from tccap.tls.finder.guards import Graph, Guard
from tccap.tls.finder.image import Image
from tccap.tls.finder.machine import REGISTERS, Machine
from tccap.tls.finder.oracle import RANDOM_LEN, Roles
from tccap.tls.finder.stubs import STUBS
from tccap.tls.sites import SECRET_LENS, Number, Path, Site

_STEPS_MAX = 200
_JUNK = 0x5A5A_5A5A_5A5A  # in registers that a call may change; no fake is there


@dataclass(frozen=True)
class Given:
    """What a log call gets: addresses in the machine, and the secret's length.

    ``callback`` is the address of the word that holds the program's callback.
    """

    label: int
    client_random: int
    secret: int
    secret_len: int
    callback: int


class Log(Protocol):
    """A way to log a secret, by a call."""

    @property
    def success(self) -> int:
        """What the call returns."""

    def given(self, machine: Machine, call: Instruction) -> Given | None:
        """Return what a call gets that the machine has reached; None if not known."""

    def callback(self, machine: Machine, call: Instruction, given: Given) -> int | None:
        """Return the word that the callback is taken from; None if it is not known.

        The machine has run from before that.
        """


@dataclass(frozen=True)
class LogFunction:
    """A proven log function; ``label`` is the number of that argument."""

    address: int
    label: int
    roles: Roles
    success: int = 1

    def given(self, machine: Machine, call: Instruction) -> Given | None:
        """Return what a call gets; None if it is that of another function."""
        if target_of(call) != self.address:
            return None
        roles = self.roles
        paths = (roles.client_random, roles.secret, roles.callback)
        random, secret, callback = map(machine.follow, paths)
        if random is None or secret is None or callback is None:
            return None
        size = machine.argument(roles.length_argument)
        return Given(machine.argument(self.label), random, secret, size, callback)

    def callback(self, _machine: Machine, _call: Instruction, given: Given) -> int:
        """Return the word that the proven function takes its callback from."""
        return given.callback


@dataclass(frozen=True)
class Behind:
    """A log call behind a guard: its site, and the jumps passed on the way."""

    call: int
    site: Site
    passed: tuple[int, ...]


@dataclass(frozen=True)
class GuardedCalls:
    """Runs from guards to log calls of one kind."""

    image: Image
    decoder: Decoder
    strings: dict[int, str]
    log: Log

    def is_proven(self, graph: Graph, guard: Guard, call: int) -> bool:
        """Return whether a jump goes to a call just if there is a callback."""
        instruction = self.decoder.at(call)
        return instruction is not None and any(
            self._decides(way, guard, instruction) for way in graph.ways_to(guard.jump)
        )

    def _decides(self, way: list[int], guard: Guard, call: Instruction) -> bool:
        """Return whether a callback decides where this way goes on."""
        machine = self.machine()
        if self._end_of(way, machine) != guard.call_at:
            return False
        given = self._given(machine, guard.call_at, call)
        word = self.log.callback(machine, call, given) if given else None
        callback = machine.fakes.path_to(word) if word is not None else None
        if callback is None:
            return False
        return self._end_of(way, self.machine({callback: 0})) == guard.past_at

    def _end_of(self, way: list[int], machine: Machine) -> int | None:
        """Run instructions one by one; return where the last one leads to.

        Jumps before it are taken to go this way.
        """
        for at in way[:-1]:
            instruction = self.decoder.at(at)
            if instruction is None:
                return None
            if not is_jump(instruction) and machine.step(at) is None:
                return None
        return machine.step(way[-1])

    def _given(self, machine: Machine, at: int, call: Instruction) -> Given | None:
        """Return what a call gets, with nothing that branches before it."""
        for _ in range(_STEPS_MAX):
            if at == call.address:
                return self.log.given(machine, call)
            instruction = self.decoder.at(at)
            after = machine.step(at)
            if instruction is None or is_call(instruction) or after is None:
                return None
            at = after
        return None

    def behind(self, guard: Guard) -> list[Behind]:
        """Return the log calls behind a jump, if each returns success.

        Nothing else decides whether they are reached.
        """
        machine = self.machine()
        return list(_Walk(self, machine, guard).calls())

    def site(self, machine: Machine, jump: int, given: Given) -> Site | None:
        """Return the site at a jump, behind which a machine has reached a log call."""
        label = self.strings.get(given.label - machine.bias)
        where = label or machine.fakes.path_to(given.label)
        random = machine.fakes.path_to(given.client_random)
        secret = machine.fakes.path_to(given.secret)
        length: int | Number | None = given.secret_len
        if length not in SECRET_LENS:
            length = machine.fakes.number(given.secret_len)
        if where is None or random is None or secret is None or length is None:
            return None
        if _is_written(machine, given):
            return None
        return Site(
            address=jump,
            file_offset=self.image.elf.code_offset(jump),
            kind="line",
            label=where,
            label_len=None,
            client_random=random,
            secret=secret,
            secret_len=length,
        )

    def machine(self, words: dict[Path, int] | None = None) -> Machine:
        """Return a machine with a fake object in every register."""
        machine = Machine(self.image, STUBS, words=words)
        machine.record_writes()
        for register in REGISTERS:
            machine.set_register(register, machine.fakes.make(register))
        return machine


class _Walk:
    """One run from a guard over the log calls behind it."""

    def __init__(self, runs: GuardedCalls, machine: Machine, guard: Guard) -> None:
        self._runs, self._machine, self._guard = runs, machine, guard
        self._has_result = False  # rax holds what a log call returned
        self._is_decided = False  # the flags depend on that, or on the callback alone
        self._callback: int | None = None

    def calls(self) -> Iterator[Behind]:
        """Yield the log calls, as far as it is certain that they are reached."""
        passed: list[int] = []
        at: int | None = self._guard.call_at
        for _ in range(_STEPS_MAX):
            instruction = self._runs.decoder.at(at) if at is not None else None
            if instruction is None or at is None:
                return
            given = self._given(instruction)
            if given is None:
                at = self._after(instruction, passed)
                continue
            site = self._runs.site(self._machine, self._guard.jump, given)
            if site:
                yield Behind(at, site, tuple(passed))
            if site is None or not is_call(instruction):
                return
            self._return(given)
            at += instruction.size

    def _given(self, instruction: Instruction) -> Given | None:
        """Return what a log call gets; the guard's own one has been proven."""
        log = self._runs.log
        given = log.given(self._machine, instruction)
        if given is None or self._callback is None:
            return given
        word = log.callback(self._machine, instruction, given)
        return given if word == given.callback else None

    def _after(self, instruction: Instruction, passed: list[int]) -> int | None:
        """Run an instruction, if it is certain where it leads; return that address."""
        if is_call(instruction):
            return None
        if is_conditional(instruction):
            if not self._is_decided:
                return None
            passed.append(instruction.address)
        elif instruction.eflags:
            self._is_decided = self._tests_call(instruction)
        written = {register_name(instruction, r) for r in instruction.regs_access()[1]}
        self._has_result = self._has_result and "rax" not in written
        return self._machine.step(instruction.address)

    def _tests_call(self, instruction: Instruction) -> bool:
        """Return whether it only tests a call's result, or the callback for zero."""
        if instruction.id not in (x86.X86_INS_TEST, x86.X86_INS_CMP):
            return False
        return all(self._is_known(instruction, each) for each in instruction.operands)

    def _is_known(self, instruction: Instruction, operand: Operand) -> bool:
        if operand.type == x86.X86_OP_IMM:
            return True
        if operand.type == x86.X86_OP_MEM:
            address = self._machine.address_of(instruction, operand)
            return address is not None and address == self._callback
        name = register_name(instruction, operand.reg)
        if self._has_result and name == "rax":
            return True
        word = self._machine.word(self._callback) if self._callback else None
        return name in REGISTERS and word == self._machine.register(name)

    def _return(self, given: Given) -> None:
        """Go on as if the call has returned: it has changed some registers."""
        for register in CALLER_SAVED:
            self._machine.set_register(register, _JUNK)
        self._machine.set_register("rax", self._runs.log.success)
        self._has_result, self._callback = True, given.callback


def _is_written(machine: Machine, given: Given) -> bool:
    """Return whether the run has written what is to be read at its begin."""
    places = (given.client_random, RANDOM_LEN), (given.secret, max(SECRET_LENS))
    return any(machine.written & {*range(at, at + size)} for at, size in places)
