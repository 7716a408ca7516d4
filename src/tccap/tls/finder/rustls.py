"""rustls: where secrets pass its key log, which most programs leave empty.

For TLS 1.3 a secret is derived; `will_log` is called, and if it returns true, `log`
(`rustcalls`). The conditional jump between the two is probed. For TLS 1.2 `log` is
called always, so that call is probed.

The proof runs the code from where it loads a label, with fake objects (`memory`) in all
registers. `will_log` is the call that gets the label and its exact length, and whose
answer decides which way a jump goes. `log` is the call behind it that gets the same
object and label, 32 as the length of client_random, and as that of the secret a number
that was put into memory before.
"""

from collections.abc import Iterator

from tccap.tls.finder import jumps, labels
from tccap.tls.finder.code import Decoder, is_end, is_jump
from tccap.tls.finder.image import Image
from tccap.tls.finder.memory import WORD
from tccap.tls.finder.rustcalls import (
    Label,
    LogCall,
    Question,
    Runner,
    number_at,
)
from tccap.tls.sites import SITES_MAX, Number, Path, Site

_STARTS_MAX = 24  # instructions before a reference that may set arguments
_MASTER_SECRET_LEN = 48
# Of early data and exporters: decryption does without.
_OPTIONAL = ("CLIENT_EARLY_TRAFFIC_SECRET", "EARLY_EXPORTER_SECRET", "EXPORTER_SECRET")
_STACKED = Path("rsp", (0,))


class Sites:
    """The sites of one image, and the calls that they stand for."""

    def __init__(self, image: Image, decoder: Decoder) -> None:
        self._image, self._decoder = image, decoder
        self._runner = Runner(image, decoder)
        self._texts = labels.texts(image)
        self._of_others = labels.strings(image)  # in C, a NUL ends them
        self._sites: set[Site] = set()
        self._calls: set[int] = set()  # of `log`, behind a jump that is probed
        self._proven: set[int] = set()  # bytes of the code that leads to a site

    def all(self) -> tuple[Site, ...]:
        """Return all sites.

        Empty if any use of a label is not understood: some of a connection's secrets
        do not decrypt it.
        """
        uses = set(_uses(self._image, self._decoder, self._texts))
        added = {use for use in uses if self._add(*use)}
        if any(self._is_missing(*use) for use in uses - added):
            return ()
        if not self._needed() <= {label.text for _, label in added}:
            return ()
        if self._are_entered() or len(self._sites) > SITES_MAX:
            return ()
        return tuple(
            sorted(self._sites, key=lambda site: (site.address, str(site.label)))
        )

    def _needed(self) -> set[str]:
        """Return the labels without which some version of TLS is not decrypted."""
        own = {text for at, text in self._texts.items() if at not in self._of_others}
        return own - {*_OPTIONAL}

    def _add(self, reference: int, label: Label) -> bool:
        """Add the site for a label that is loaded for a secret; return whether it is.

        ``reference`` is the instruction that loads the label, or the table with it.
        """
        for start in _starts(self._decoder, reference):
            call = self._runner.reach(start, reference, label)
            if call is None:
                continue
            if not call.logs:
                return self._add_question(start, reference, label)
            if label.text == "CLIENT_RANDOM" and call.stacked == _MASTER_SECRET_LEN:
                at = call.instruction.address
                self._sites.add(self._call_site(at, label))
                self._proven |= {*range(reference + 1, at + 1)}
                return True
        return False

    def _add_question(self, start: int, reference: int, label: Label) -> bool:
        question = self._runner.ask(start, reference, label)
        log = self._runner.log_call(question.if_true) if question else None
        if not question or not log or not _agree(question, log, label):
            return False
        self._sites.add(self._jump_site(question.jump, log, label))
        self._calls.add(log.call)
        self._proven |= {*range(question.call + 1, question.jump + 1)}
        return True

    def _are_entered(self) -> bool:
        """Return whether a site is reached on another way than that which was run."""
        return bool(jumps.leading_to(self._image, self._decoder, self._proven))

    def _is_missing(self, reference: int, label: Label) -> bool:
        """Return whether a label that decryption needs may be logged without a probe.

        It is not if it is loaded for a call behind a jump that is probed, or if it is
        the label of another library.
        """
        if label.text in _OPTIONAL or label.address in self._of_others:
            return False
        for start in _starts(self._decoder, reference):
            call = self._runner.reach(start, reference, label)
            if call:
                return call.instruction.address not in self._calls
        return True

    def _call_site(self, call: int, label: Label) -> Site:
        return Site(
            address=call,
            file_offset=self._image.elf.code_offset(call),
            kind="line",
            label=label.text,
            label_len=None,
            client_random=Path("rcx", (0,)),
            secret=Path("r9", (0,)),
            secret_len=Number(_STACKED, WORD.size),
        )

    def _jump_site(self, jump: int, log: LogCall, label: Label) -> Site:
        return Site(
            address=jump,
            file_offset=self._image.elf.code_offset(jump),
            kind="line",
            label=log.label if isinstance(log.label, Path) else label.text,
            label_len=log.label_len if isinstance(log.label_len, Number) else None,
            client_random=log.client_random,
            secret=log.secret,
            secret_len=log.secret_len,
        )


def _agree(question: Question, log: LogCall, label: Label) -> bool:
    """Return whether both calls get the same object, and the label that was loaded."""
    machine = question.machine
    at, size = log.label, log.label_len
    found = (
        machine.follow(at) if isinstance(at, Path) else at,
        number_at(machine, size) if isinstance(size, Number) else size,
    )
    wanted = (label.address + machine.bias, len(label.text))
    return found == wanted and machine.follow(log.called) == question.called


def _uses(
    image: Image, decoder: Decoder, texts: dict[int, str]
) -> Iterator[tuple[int, Label]]:
    """Yield the instructions that load a label, or the address of a table of labels."""
    for reference, target in labels.loads(image, decoder, texts):
        yield reference, Label(target, texts[target])
    slots = {slot: at for at in texts for slot in image.pointers_to(at)}
    for reference, table in labels.loads(image, decoder, slots):
        slot = table
        while slot in slots:
            yield reference, Label(slots[slot], texts[slots[slot]], slot - table)
            slot += WORD.size


def _starts(decoder: Decoder, reference: int) -> Iterator[int]:
    """Yield the addresses of a reference and of instructions before it, nearest first.

    Only as far as execution certainly goes on from there to the reference.
    """
    yield reference
    before = jumps.certain_before(decoder, reference)
    for start in before[: -_STARTS_MAX - 1 : -1]:
        instruction = decoder.at(start)
        if instruction is None or is_jump(instruction) or is_end(instruction):
            return
        yield start
