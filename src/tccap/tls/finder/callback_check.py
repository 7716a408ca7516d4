"""Log calls that the caller jumps over if the program has set no callback.

Link-time optimisation moves the test for the callback from the log function into its
callers, so the call is never reached in most programs, but the conditional jump before
it always is. That jump is probed. The arguments of the call are expressed by the
registers at the jump: the code from jump to call is emulated with a fake object
(`memory`) in every register.
"""

from collections import defaultdict
from collections.abc import Iterator
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
from tccap.tls.finder.flow import ARGUMENTS
from tccap.tls.finder.image import Image
from tccap.tls.finder.machine import REGISTERS, Machine
from tccap.tls.finder.memory import WORD
from tccap.tls.finder.oracle import Roles
from tccap.tls.finder.stubs import STUBS
from tccap.tls.sites import SECRET_LENS, SITES_MAX, Number, Path, Site

_BACK_MAX = 40  # instructions from a jump to the call that it guards
_STEPS_MAX = 200
_TEST_LEN_MAX = 6  # instructions before a jump that may load and test the callback


@dataclass(frozen=True)
class LogFunction:
    """A proven log function; ``label`` is the number of that argument."""

    address: int
    label: int
    roles: Roles


def sites(
    image: Image,
    decoder: Decoder,
    strings: dict[int, str],
    log: LogFunction,
    calls: set[int],
) -> tuple[Site, ...]:
    """Return the sites of the jumps that guard these calls to a log function.

    Empty if any call has none: some of a connection's secrets do not decrypt it.
    """
    found: set[Site] = set()
    reached: set[int] = set()
    emulation = _Emulation(image, decoder, strings, log)
    for call in calls:
        graph = _Graph(image, decoder, call)
        for jump, start in graph.guards(call):
            if graph.tests_callback(jump, log.roles.callback.offsets[-1]):
                for place, site in emulation.sites_behind(jump, start):
                    found.add(site)
                    reached.add(place)
    if reached < calls or len(found) > SITES_MAX:
        return ()
    return tuple(sorted(found, key=lambda site: (site.address, str(site.label))))


class _Graph:
    """The control flow of one function, backwards."""

    def __init__(self, image: Image, decoder: Decoder, inside: int) -> None:
        low, high = image.functions.around(inside) or (inside, inside)
        self._before: dict[int, set[int]] = defaultdict(set)
        self._instructions: dict[int, Instruction] = {}
        at = low
        while at < min(high, low + FUNCTION_LEN_MAX):
            instruction = decoder.at(at)
            if instruction is None:
                break
            self._instructions[at] = instruction
            for place in _successors(instruction):
                if low <= place < high:
                    self._before[place].add(at)
            at += instruction.size

    def guards(self, call: int) -> Iterator[tuple[int, int]]:
        """Yield (jump, next address towards the call) of its last conditional jumps."""
        waiting, seen = [(call, 0)], set()
        while waiting:
            place, distance = waiting.pop()
            for before in self._before[place]:
                instruction = self._instructions[before]
                if (before, place) in seen or distance > _BACK_MAX:
                    continue
                seen.add((before, place))
                if is_conditional(instruction):
                    yield before, place
                elif not is_call(instruction):
                    waiting.append((before, distance + 1))

    def tests_callback(self, jump: int, offset: int) -> bool:
        """Return whether a word at an offset of an object is read just before a jump.

        The log function reads its callback at this offset.
        """
        places = {jump}
        for _ in range(_TEST_LEN_MAX):
            places = {before for place in places for before in self._before[place]}
            for place in places:
                for operand in self._instructions[place].operands:
                    if operand.type != x86.X86_OP_MEM or operand.size != WORD.size:
                        continue
                    if operand.mem.disp == offset:
                        return True
        return False


def _successors(instruction: Instruction) -> Iterator[int]:
    target = target_of(instruction) if is_jump(instruction) else None
    if target is not None:
        yield target
    if not is_end(instruction) and (
        not is_jump(instruction) or is_conditional(instruction)
    ):
        yield instruction.address + instruction.size


@dataclass(frozen=True)
class _Emulation:
    """Runs from a jump to the log calls behind it."""

    image: Image
    decoder: Decoder
    strings: dict[int, str]
    log: LogFunction

    def sites_behind(self, jump: int, start: int) -> Iterator[tuple[int, Site]]:
        """Yield (call, site) of the log calls behind a jump that goes on at ``start``.

        One test may guard several calls; each is assumed to return success.
        """
        machine = Machine(self.image, STUBS)
        for register in REGISTERS:
            machine.set_register(register, machine.fakes.make(register))
        at: int | None = start
        for _ in range(_STEPS_MAX):
            instruction = self.decoder.at(at) if at is not None else None
            if instruction is None or at is None:
                return
            is_log = target_of(instruction) == self.log.address
            if not is_call(instruction) and not is_log:
                at = machine.step(at)
                continue
            site = self._site(machine, jump) if is_log else None
            if site:
                yield at, site
            if not is_log or not is_call(instruction):
                return  # what follows depends on another function
            machine.set_register("rax", 1)
            at += instruction.size

    def _site(self, machine: Machine, jump: int) -> Site | None:
        """Return the site at a jump for the call that the machine has reached."""
        roles = self.log.roles
        label_at = machine.argument(self.log.label)
        label = self.strings.get(label_at - machine.bias)
        random = _at_jump(machine, roles.client_random)
        secret = _at_jump(machine, roles.secret)
        length: int | Number | None = machine.argument(roles.length_argument)
        if length not in SECRET_LENS:
            length = machine.fakes.number(machine.argument(roles.length_argument))
        where = label or machine.fakes.path_to(label_at)
        if where is None or random is None or secret is None or length is None:
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


def _at_jump(machine: Machine, path: Path) -> Path | None:
    """Return a path from the log function's arguments as one from the jump."""
    address = machine.argument(ARGUMENTS.index(path.register))
    for offset in path.offsets[:-1]:
        content = machine.read(address + offset, WORD.size)
        if not content:
            return None
        [address] = WORD.unpack(content)
    return machine.fakes.path_to(address + path.offsets[-1])
