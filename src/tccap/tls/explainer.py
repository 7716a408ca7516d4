"""Why processes that speak TLS are not decrypted: one line in the log for each."""

from collections import Counter
from collections.abc import Callable

from tccap.ipc.status import log
from tccap.ipc.values import Level
from tccap.tls import unsupported
from tccap.tls.knownfiles import KnownFiles, Outcome
from tccap.tls.processscan import Look, ProcessScan
from tccap.tls.unsupported import Library

WARNINGS_MAX = 100  # in a capture
# Of one program, which may be run again and again: others are to be named, too.
WARNINGS_OF_PROGRAM = 10
_LAST_OF_PROGRAM = " Further processes of this program are not named."
_LAST = " Further processes and files are not named."
# A connection is held from its ServerHello on, which comes soon after its ClientHello.
_HELLO_S = 1.0


class Explainer:
    """Warns once of each process and file; for the tracing thread alone.

    ``is_surely_traced`` returns whether the probes read a process's secrets: a process
    filter may leave it out.
    """

    def __init__(
        self,
        known: KnownFiles,
        scan: ProcessScan,
        goes_on: Callable[[], bool],
        is_surely_traced: Callable[[int], bool],
    ) -> None:
        self._known = known
        self._scan = scan
        self._recognition = unsupported.Recognition(goes_on)
        self._is_surely_traced = is_surely_traced
        self._warned: set[str] = set()
        self._of_program: Counter[str] = Counter()

    def explain(self, look: Look) -> None:
        """Warn of what a process that speaks TLS has, and tccap cannot read."""
        refused = self._known.refused({file.identity for file in look.files})
        identities = {file.identity for file in look.files}
        has_probes = any(self._known.probes_in(each) for each in identities)
        for outcome in refused:
            # haproxy has labels in its messages, and its TLS is another file's.
            is_doubtful = has_probes and not _names_library(outcome)
            if not is_doubtful and self._is_new(outcome.path, outcome.path):
                self._log("warning", _refusal(outcome), outcome.path)
        is_read = any(self._known.probes_in(each) != 0 for each in identities)
        if not refused and not is_read and self._is_first(look):
            library = self._library(look)
            self._log(
                "warning" if library else "info",
                f"TLS: no secrets from {_name(look)}: {unsupported.sentence(library)}",
                _program(look),
            )

    def explain_silence(self, look: Look, since: float) -> None:
        """Say what may have made a connection in a process with a library that is read.

        ``since`` is when it was held first. If a library was not probed yet by its
        ClientHello, that is why, and nothing is to be said. Nor is it if the process
        may not be traced at all.
        """
        identities = {file.identity for file in look.files}
        outcomes = self._known.outcomes(identities)
        probed = [each for each in outcomes if each and each.probes]
        if not probed or max(each.probed_at for each in probed) > since - _HELLO_S:
            return
        if any(self._known.probes_in(each) is None for each in identities):
            return
        if self._is_surely_traced(look.pid) and self._is_first(look):
            refused = [each for each in outcomes if each and each.refusal]
            library = self._library(look)
            names = " and ".join(sorted({each.library for each in probed}))
            reason = unsupported.perhaps(library)
            partly = [each for each in probed if each.unread]
            if refused:
                reason = f"{refused[0].path} made it: {refused[0].refusal}"
            elif partly:
                reason = unsupported.perhaps_beside(partly[0].unread, partly[0].path)
            self._log(
                "warning" if library or refused or partly else "info",
                f"TLS: no secrets for a connection of {_name(look)}, although {names} "
                f"in it is read; perhaps {reason}",
                _program(look),
            )

    def _is_first(self, look: Look) -> bool:
        return self._scan.has_time(look) and self._is_new(_name(look), _program(look))

    def _library(self, look: Look) -> Library | None:
        unread = [f for f in look.files if not self._known.probes_in(f.identity)]
        with self._scan.charged(look):
            return self._recognition.of(unread)

    def _is_new(self, about: str, program: str) -> bool:
        has_room = (
            len(self._warned) < WARNINGS_MAX
            and self._of_program[program] < WARNINGS_OF_PROGRAM
        )
        if about in self._warned or not has_room:
            return False
        self._warned.add(about)
        self._of_program[program] += 1
        return True

    def _log(self, level: Level, message: str, program: str) -> None:
        """Log what is new, and whether it is the last that is said."""
        if len(self._warned) == WARNINGS_MAX:
            message += _LAST
        elif self._of_program[program] == WARNINGS_OF_PROGRAM:
            message += _LAST_OF_PROGRAM
        log(level, message)


def _names_library(outcome: Outcome) -> bool:
    return bool(outcome.library) or unsupported.names_library(outcome.refusal)


def log_refusal(outcome: Outcome, level: Level) -> None:
    """Write into the log why a file is not read."""
    log(level, _refusal(outcome))


def _refusal(outcome: Outcome) -> str:
    return f"TLS: no secrets from {outcome.path}: {outcome.refusal}"


def _program(look: Look) -> str:
    return look.files[0].identity.path


def _name(look: Look) -> str:
    return f"{_program(look)} (pid {look.pid})"
