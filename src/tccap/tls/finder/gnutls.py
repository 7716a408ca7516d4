"""Proof of GnuTLS's log function, whose callback gets the secret in binary.

The callback is ``gnutls_keylog_func(session, label, &{data, size})`` of gnutls.h; data
and size must be arguments of the log function. The place of client_random comes from
the exported ``gnutls_session_get_random(session, client, server)``.
"""

import struct

from tccap.tls.finder.flow import ARGUMENTS
from tccap.tls.finder.image import Image
from tccap.tls.finder.machine import Machine
from tccap.tls.finder.oracle import RANDOM_LEN, TRIALS, Roles
from tccap.tls.finder.stubs import STUBS
from tccap.tls.sites import Path

GET_RANDOM = b"gnutls_session_get_random"
_DATUM = struct.Struct("<QI")  # gnutls_datum_t: data, size
_SESSION, _LABEL, _DATA, _SIZE = range(4)


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
