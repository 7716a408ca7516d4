"""Proof of GnuTLS's log function, whose callback gets the secret in binary.

The callback is ``gnutls_keylog_func(session, label, &{data, size})`` of gnutls.h; data
and size must be arguments of the log function. The place of client_random comes from
the exported ``gnutls_session_get_random(session, client, server)``.

If the log function has been merged into its callers, each of them calls the callback.
Where that is kept shows the exported ``gnutls_session_set_keylog_function``.
"""

import struct
from dataclasses import dataclass

from capstone import x86

from tccap.tls.finder.code import (
    Instruction,
    is_call,
    is_jump,
    register_name,
    target_of,
)
from tccap.tls.finder.flow import ARGUMENTS
from tccap.tls.finder.guardedcall import Given
from tccap.tls.finder.image import Image
from tccap.tls.finder.machine import Machine
from tccap.tls.finder.oracle import RANDOM_LEN, TRIALS, Roles
from tccap.tls.finder.stubs import STUBS
from tccap.tls.sites import Path

GET_RANDOM = b"gnutls_session_get_random"
SET_CALLBACK = b"gnutls_session_set_keylog_function"
NAMES = (GET_RANDOM, SET_CALLBACK)
_DATUM = struct.Struct("<QI")  # gnutls_datum_t: data, size
_SESSION, _LABEL, _DATA, _SIZE = range(4)
_ITS_DATUM = 2  # the callback's argument
_CALLBACK = 0x5A5A_5A5A_5A5A  # no fake is there


@dataclass(frozen=True)
class MergedLog:
    """Calls of the callback, by GnuTLS itself; the paths begin at their arguments."""

    client_random: Path
    callback_path: Path
    success: int = 0

    def given(self, machine: Machine, call: Instruction) -> Given | None:
        """Return what a call through a pointer gets, if that can be a log call."""
        if not (is_call(call) or is_jump(call)) or target_of(call) is not None:
            return None
        datum = machine.argument(_ITS_DATUM)
        content = machine.read(datum, _DATUM.size)
        # The datum is made for this call; what was there before may be anything.
        if not content or not machine.written >= {*range(datum, datum + _DATUM.size)}:
            return None
        random, callback = map(machine.follow, (self.client_random, self.callback_path))
        if random is None or callback is None:
            return None
        data, size = _DATUM.unpack(content)
        return Given(machine.argument(_LABEL), random, data, size, callback)

    def callback(
        self, machine: Machine, call: Instruction, _given: Given
    ) -> int | None:
        """Return where the pointer that is called stands, if a session has it there.

        The session that the callback gets may be in its register since before a call:
        a compiler that sees the whole program knows what a function does not change.
        """
        word = _place_of_target(machine, call)
        path = machine.fakes.path_to(word) if word is not None else None
        wanted = self.callback_path.offsets
        return word if path and path.offsets[-len(wanted) :] == wanted else None


def _place_of_target(machine: Machine, call: Instruction) -> int | None:
    [operand] = call.operands
    if operand.type == x86.X86_OP_MEM:
        return machine.address_of(call, operand)
    pointer = machine.register(register_name(call, operand.reg))
    word = machine.fakes.word_with(pointer)
    return word if isinstance(word, int) else None


def merged_log(image: Image) -> MergedLog | None:
    """Return how to recognise GnuTLS's calls of the callback; None if not known."""
    function = image.symbols.address.get(SET_CALLBACK)
    client_random = _client_random(image)
    if function is None or client_random is None:
        return None
    machine = Machine(image, STUBS)
    machine.record_writes()
    machine.call(function, (None, _CALLBACK))
    places = [at for at in machine.written if machine.word(at) == _CALLBACK]
    callback = machine.fakes.path_to(places[0]) if len(places) == 1 else None
    return MergedLog(client_random, callback) if callback else None


def prove(image: Image, function: int, label: int) -> Roles | None:
    """Return the roles of the arguments if this is GnuTLS's log function, else None."""
    if label != _LABEL:
        return None
    pointers = {_callback(image, function, trial) for trial in TRIALS}
    pointer = pointers.pop()
    client_random = _client_random(image)
    if pointers or pointer is None or client_random is None:
        return None
    return Roles(client_random, Path(ARGUMENTS[_DATA], (0,)), _SIZE, pointer)


def _callback(image: Image, function: int, trial: tuple[int, bytes]) -> Path | None:
    """Return the path to the callback's pointer, if the callback gets our arguments."""
    secret_len, label_text = trial
    machine = Machine(image, STUBS)
    machine.call(function, (None, label_text, None, secret_len))
    if machine.callback is None:
        return None
    session, label, datum = machine.callback.arguments[:3]
    content = machine.read(datum, _DATUM.size)
    if not content or machine.string(label) != label_text:
        return None
    data, size = _DATUM.unpack(content)
    found = (machine.fakes.path_to(session), machine.fakes.path_to(data), size)
    wanted = (Path(ARGUMENTS[_SESSION], (0,)), Path(ARGUMENTS[_DATA], (0,)), secret_len)
    pointer = machine.callback.pointer
    return pointer if found == wanted else None


def _client_random(image: Image) -> Path | None:
    function = image.symbols.address.get(GET_RANDOM)
    if function is None:
        return None
    machine = Machine(image, STUBS)
    client, server = (machine.new_bytes(bytes(_DATUM.size)) for _ in range(2))
    machine.call(function, (None, client, server))
    data, size = _DATUM.unpack(machine.read(client, _DATUM.size))
    return machine.fakes.path_to(data) if size == RANDOM_LEN else None
