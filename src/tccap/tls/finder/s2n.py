"""s2n: its two log functions have names, and are proven by running them.

s2n calls ``s2n_key_log_tls13_secret(connection, secret, kind)`` with each secret of
TLS 1.3, and ``s2n_key_log_tls12_secret(connection)``, whether the program has set a
callback (``s2n_config_set_key_log_cb``) or not. The callback gets a line (`oracle`).
The kind is a number; each is tried, to see which label it has.

Only a file with these names is understood: the functions are not exported.
"""

import itertools
import struct
from collections.abc import Mapping, Sequence

from tccap.tls.finder import calls, oracle, probeable, search
from tccap.tls.finder.code import Decoder
from tccap.tls.finder.image import Image
from tccap.tls.finder.machine import Machine
from tccap.tls.finder.oracle import Line
from tccap.tls.finder.stubs import STUBS
from tccap.tls.sites import LABELS, Number, Numbered, Path, Site

OF_1_3, OF_1_2 = b"s2n_key_log_tls13_secret", b"s2n_key_log_tls12_secret"
_SOURCE = b"tls/s2n_handshake_io.c"
# struct s2n_blob of utils/s2n_blob.h: data, size, allocated, growable
_BLOB = struct.Struct("<QIIQ")
_SIZE = Path("rsi", (8,))
_KIND = Number(Path("rdx", ()), 4)
_KINDS = range(16)
_NEEDED = frozenset(LABELS[2:6])  # of TLS 1.3, to decrypt a connection
_MASTER_SECRET_LEN = 48
_ALLOCATED = 0x5A5A  # beside the size, in the same word
_TRIALS = ((32, 0), (48, _ALLOCATED))  # the secret's size, and what stands beside it


def sites(image: Image) -> tuple[Site, ...]:
    """Return the sites of both log functions; none unless both are proven."""
    functions = [image.symbols.address.get(name) for name in (OF_1_3, OF_1_2)]
    if None in functions:
        return ()
    of_1_3, of_1_2 = (each for each in functions if each is not None)
    found = (_of_1_3(image, of_1_3), _of_1_2(image, of_1_2))
    called = all(any(calls.direct(image, function)) for function in (of_1_3, of_1_2))
    return tuple(filter(None, found)) if all(found) and called else ()


def _of_1_3(image: Image, function: int) -> Site | None:
    labels: dict[int, str] = {}
    places = set()
    for kind, trial in itertools.product(_KINDS, _TRIALS):
        secret_len, beside = trial
        words = {_SIZE: secret_len | beside << 32}
        line, callback = _logged(image, function, (None, None, kind), words)
        if line is None:
            continue
        label = line.label.decode()
        if line.secret_len != secret_len or labels.setdefault(kind, label) != label:
            return None
        places.add((line.client_random, line.secret, callback))
    if len(places) != 1 or not _NEEDED <= {*labels.values()} <= {*LABELS}:
        return None
    [(*found, callback)] = places
    if not _returns_without(callback, image, function, (None, None, min(labels))):
        return None
    by_kind = Numbered(_KIND, tuple(sorted(labels.items())))
    return _site(image, function, by_kind, found, Number(_SIZE, 4))


def _of_1_2(image: Image, function: int) -> Site | None:
    line, callback = _logged(image, function, (None,), {})
    if line is None or not _returns_without(callback, image, function, (None,)):
        return None
    if (line.label, line.secret_len) != (b"CLIENT_RANDOM", _MASTER_SECRET_LEN):
        return None
    found = (line.client_random, line.secret)
    return _site(image, function, "CLIENT_RANDOM", found, _MASTER_SECRET_LEN)


def _site(
    image: Image,
    function: int,
    label: str | Numbered,
    found: Sequence[Path],
    secret_len: int | Number,
) -> Site | None:
    client_random, secret = found
    entry = probeable.entry(image, Decoder(image.elf), function)
    if entry is None:
        return None
    return Site(
        address=entry,
        file_offset=image.elf.code_offset(entry),
        kind="line",
        label=label,
        label_len=None,
        client_random=client_random,
        secret=secret,
        secret_len=secret_len,
    )


def _logged(
    image: Image,
    function: int,
    arguments: Sequence[int | None],
    words: Mapping[Path, int],
) -> tuple[Line | None, Path | None]:
    """Run a function; return the line that its callback gets, and the path to that."""
    machine = Machine(image, _STUBS, words=words)
    machine.call(function, arguments)
    if machine.callback is None or machine.callback.pointer is None:
        return None, None
    _, _, text, text_len, *_ = machine.callback.arguments
    line = oracle.parsed(machine, machine.read(text, text_len & 0xFFFFFFFF))
    return line, machine.callback.pointer


def _returns_without(
    callback: Path | None,
    image: Image,
    function: int,
    arguments: Sequence[int | None],
) -> bool:
    """Return whether the function returns if there is no callback."""
    if callback is None:
        return False
    machine = Machine(image, _STUBS, words={callback: 0, _SIZE: _MASTER_SECRET_LEN})
    machine.call(function, arguments)
    return machine.has_returned


def _allocate(machine: Machine) -> int:
    """Fill in a struct s2n_blob with new memory, as s2n_alloc and s2n_realloc do."""
    blob, size = machine.argument(0), machine.argument(1) & 0xFFFFFFFF
    machine.write(blob, _BLOB.pack(machine.allocate(size), size, size, 1))
    return 0


# s2n's allocators need its initialisation first.
ALLOCATORS = (b"s2n_alloc", b"s2n_realloc")
_STUBS = {**STUBS, **dict.fromkeys(ALLOCATORS, _allocate)}
NAMES = (OF_1_3, OF_1_2, *ALLOCATORS)


def is_in(image: Image) -> bool:
    """Return whether a file holds s2n, whose errors name its sources."""
    return any(search.find(image.elf.data, (_SOURCE,)))
