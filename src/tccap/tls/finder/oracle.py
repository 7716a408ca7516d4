"""Proof of a log function: run it, and read the line that its callback gets.

OpenSSL and BoringSSL hand the callback a finished line, ``LABEL <random> <secret>``, in
hexadecimal. The bytes of fake objects (`memory`) identify their place, so the line
shows where client_random and secret were read from. Without such a line the function
is not probed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import permutations

from tccap.tls.finder import cfi
from tccap.tls.finder.code import Decoder, is_conditional
from tccap.tls.finder.flow import ARGUMENTS
from tccap.tls.finder.image import Image
from tccap.tls.finder.machine import Callback, Machine
from tccap.tls.finder.stubs import STUBS, new_memory
from tccap.tls.sites import Number, Path, Site

RANDOM_LEN = 32
# Two runs, each with its length of the secret and its label; they must agree.
TRIALS = ((48, b"SERVER_TRAFFIC_SECRET_0"), (32, b"CLIENT_HANDSHAKE_TRAFFIC_SECRET"))
_LINE = re.compile(rb"([A-Z0-9_]+) ([0-9A-Fa-f]{64}) ((?:[0-9A-Fa-f]{2})+)\n?")
_ARGUMENT_COUNT = 6
_RUNS_MAX = 60
_REPLACED_MAX = 4
_FUNCTION_LEN = 0x800  # if there is no unwind information
_CALLERS_MAX = 6  # the innermost functions of the call stack that may have failed


@dataclass(frozen=True)
class Roles:
    """Where the parts of a key-log line are at the entry of a log function."""

    client_random: Path
    secret: Path
    length_argument: int
    callback: Path  # the path to the pointer to the program's callback


@dataclass(frozen=True)
class Line:
    """A key-log line, and where its parts come from."""

    label: bytes
    client_random: Path
    secret: Path
    secret_len: int


@dataclass(frozen=True)
class Setting:
    """How to run a function: the roles of arguments by number, functions to replace."""

    function: int
    label: int
    length: int = 3
    random_length: int | None = None  # of client_random, if the function takes it
    replaced: tuple[int, ...] = ()


def site(image: Image, entry: int, label: int, roles: Roles) -> Site:
    """Return the site at a log function's entry; ``label`` is its argument's number."""
    return Site(
        address=entry,
        file_offset=image.elf.code_offset(entry),
        kind="line",
        label=Path(ARGUMENTS[label], (0,)),
        label_len=None,
        client_random=roles.client_random,
        secret=roles.secret,
        secret_len=Number(Path(ARGUMENTS[roles.length_argument], ()), 4),
    )


def prove(image: Image, decoder: Decoder, function: int, label: int) -> Roles | None:
    """Return the roles of the arguments if a function logs lines, else None."""
    for setting in _settings(image, decoder, Setting(function, label)):
        found = {_trial(image, decoder, setting, trial)[0] for trial in TRIALS}
        if len(found) == 1:
            return found.pop()
    return None


def tests_callback(image: Image, decoder: Decoder, function: int, roles: Roles) -> bool:
    """Return whether the log function tests for the callback itself.

    If it does not, its callers test for it, and do not call the function without one
    (`callback_check`). It does if it returns without one, or goes another way than with
    one: it may go on then, to a log of the library's own (OpenSSL's ``sslkeylog``).
    """
    ways = []
    for words in ({}, {roles.callback: 0}):
        machine = Machine(image, STUBS, words=words)
        ways.append(machine.trace(*_bounds(image, function)))
        machine.call(function, [None] * _ARGUMENT_COUNT)
    both = [one for one, other in zip(*ways, strict=False) if one == other]
    last = decoder.at(both[-1]) if both else None
    differ = ways[0][: len(both) + 1] != ways[1][: len(both) + 1]
    has_branched = differ and last is not None and is_conditional(last)
    return machine.has_returned or has_branched


def _settings(image: Image, decoder: Decoder, first: Setting) -> Iterator[Setting]:
    """Yield settings with which the function logs a line."""
    others = [n for n in range(_ARGUMENT_COUNT) if n != first.label]
    for length in sorted(others, key=lambda n: (n != first.length, n)):
        setting = replace(first, length=length)
        if _trial(image, decoder, setting, TRIALS[0])[0]:
            yield setting
    for length, random_length in permutations(others, 2):
        setting = replace(first, length=length, random_length=random_length)
        if _trial(image, decoder, setting, TRIALS[0])[0]:
            yield setting
    # A callee that cannot be emulated (an allocator, a lock) may fail: replace it.
    waiting = [first]
    for _ in range(_RUNS_MAX):
        if not waiting:
            return
        setting = waiting.pop()
        roles, callers = _trial(image, decoder, setting, TRIALS[0])
        if roles:
            yield setting
        known = (first.function, *setting.replaced)
        if len(setting.replaced) < _REPLACED_MAX:
            new = [c for c in callers if c not in known][:_CALLERS_MAX]
            waiting += [
                replace(setting, replaced=(*setting.replaced, c)) for c in reversed(new)
            ]


def _trial(
    image: Image, decoder: Decoder, setting: Setting, trial: tuple[int, bytes]
) -> tuple[Roles | None, list[int]]:
    """Run the function once; return the roles, or the call stack where it failed."""
    secret_len, label = trial
    arguments: list[int | bytes | None] = [None] * _ARGUMENT_COUNT
    arguments[setting.label], arguments[setting.length] = label, secret_len
    if setting.random_length is not None:
        arguments[setting.random_length] = RANDOM_LEN
    machine, callback = _callback(image, decoder, setting, arguments)
    if callback is None:
        return None, machine.called_functions()
    for argument in callback.arguments:
        line = parsed(machine, machine.string(argument))
        if not callback.pointer or not line:
            continue
        if (line.label, line.secret_len) == (label, secret_len):
            random, secret = line.client_random, line.secret
            return Roles(random, secret, setting.length, callback.pointer), []
    return None, []


def _callback(
    image: Image,
    decoder: Decoder,
    setting: Setting,
    arguments: list[int | bytes | None],
) -> tuple[Machine, Callback | None]:
    """Run the function up to the callback, also where it must be a certain one."""
    function, stubs = setting.function, dict.fromkeys(setting.replaced, new_memory)
    machine = Machine(image, STUBS, stubs)
    run = machine.trace(*_bounds(image, function))
    machine.call(function, arguments)
    check = None if machine.callback else cfi.failed(image, decoder, machine, run)
    if check is None:
        return machine, machine.callback
    words = {check.pointer: check.allowed + machine.bias}
    machine = Machine(image, STUBS, stubs, words)
    machine.call(function, arguments, until=check.call)
    given = tuple(machine.argument(n) for n in range(_ARGUMENT_COUNT))
    return machine, Callback(check.pointer, given) if machine.has_returned else None


def _bounds(image: Image, function: int) -> tuple[int, int]:
    return image.functions.around(function) or (function, function + _FUNCTION_LEN)


def parsed(machine: Machine, text: bytes) -> Line | None:
    """Return where the parts of a key-log line come from; None if that is not known."""
    line = _LINE.fullmatch(text)
    if not line:
        return None
    random, secret = (_source(machine, line[n]) for n in (2, 3))
    if not random or not secret:
        return None
    return Line(line[1], random, secret, len(line[3]) // 2)


def _source(machine: Machine, hexadecimal: bytes) -> Path | None:
    """Return the path to the place that all these bytes were copied from."""
    content = bytes.fromhex(hexadecimal.decode())
    address = machine.fakes.bytes_at(content)
    if address is None or machine.read(address, len(content)) != content:
        return None
    return machine.fakes.path_to(address)
