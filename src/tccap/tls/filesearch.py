"""Finding the files to examine: listed ones, those of earlier captures, of processes.

A file is opened as soon as it is seen, as its process may end at any moment; other
threads examine it (`examinations`). What it means for a process counts when all files
of that are examined. Questions of the packets' loop are answered all the time.
"""

import os
import time
from collections import OrderedDict

from tccap.host.allowance import Allowance
from tccap.ipc.status import log
from tccap.ipc.values import Level
from tccap.tls import learned, mapped
from tccap.tls.examinations import Examinations, File
from tccap.tls.explainer import Explainer
from tccap.tls.knownfiles import UNREADABLE, Content
from tccap.tls.newprograms import NewPrograms
from tccap.tls.probedfiles import ROOT
from tccap.tls.processscan import Due, Look, ProcessScan
from tccap.tls.shared import Shared
from tccap.tls.unsettled import Unsettled

LEARNED_S = 10.0  # for files of earlier captures, at the start
# Of one CPU, for processes that the loop asks for, when these have taken ...
LOOKS_SHARE = 0.2
LOOKS_BURST_S = 0.2
OPENED_MAX = 256  # files of one process
ASKED_MAX = 256  # processes whose files are remembered
_LATE = (
    "TLS: programs of earlier captures are looked at when they are in use, as it took "
    f"more than {LEARNED_S:g} s to look at all: some first connections may not be "
    "decrypted."
)
_FOREVER = float("inf")
_WAIT_S = 1.0


class FileSearch:
    """Finds files; for the tracing thread alone, which `Verdicts.wake` wakes up."""

    def __init__(
        self,
        shared: Shared,
        scan: ProcessScan,
        examinations: Examinations,
        programs: NewPrograms | None,
        explainer: Explainer,
    ) -> None:
        self._known, self._probed, self._verdicts, self._stopped = shared
        self._scan = scan
        self._examinations = examinations
        self._programs = programs
        if programs:
            self._verdicts.wait_for(programs.fileno())
        self._explainer = explainer
        self._allowance = Allowance(LOOKS_SHARE, LOOKS_BURST_S)
        self._unsettled = Unsettled()
        self._asked: set[int] = set()  # by the loop
        # Of processes that may have ended since; by pid, the last one at the end.
        self._asked_looks: OrderedDict[int, Look] = OrderedDict()

    def add_path(self, path: str, refusal_level: Level) -> None:
        """Have a file examined before any process maps it."""
        fd = mapped.open_file(path)
        if fd is None:
            log("warning", f"TLS: {path} cannot be opened.")
            return
        content = self._content(fd)
        self._known.add_listed(content)
        self._add(File(fd, path, content, ROOT, refusal_level, is_urgent=True))

    def add_learned(self, *, only_public: bool) -> None:
        """Have files examined that were probed in earlier captures.

        Their answers are in the cache, unless that was emptied. Large files take time
        where they have to be read, and any user may have made them: so there is a limit
        of time.
        """
        deadline = time.monotonic() + LEARNED_S
        for path, fd in learned.files(only_public=only_public):
            if not self._has_room(deadline):
                os.close(fd)
                if not self._stopped.is_set():
                    log("warning", _LATE)
                return
            content = self._content(fd)
            self._add(File(fd, path, content, ROOT, "info", may_be_learned=True))

    def add_of_processes(self) -> None:
        """Have the files examined that traced processes execute."""
        for look, dues in self._scan.scan(self.answer):
            for due in dues:
                if not self._has_room():
                    return
                self._add_mapped(due, mapped.opened(due.file))
            self._settle_later(look)

    def finish(self) -> None:
        """Return when all files are examined that were found so far."""
        unfinished = self._examinations.unfinished
        while unfinished and not self._stopped.is_set():
            self._wait(_WAIT_S)
            self.answer()
            unfinished = self._examinations.pending(unfinished)
        self.answer()

    def answer_until(self, deadline: float) -> None:
        """Answer the loop for a while (`time.monotonic`), or until the end."""
        while time.monotonic() < deadline and not self._stopped.is_set():
            self._wait(deadline - time.monotonic())
            self.answer()

    def answer(self) -> None:
        """Answer the loop, and look at the processes that it has asked for."""
        with self._allowance.used(time.thread_time):
            self._answer()
        self._stopped.wait(self._allowance.wait_s())

    def _answer(self) -> None:
        self._settle()
        for pid in self._verdicts.take_asked():
            if not self._stopped.is_set():
                self._look_at(pid)
        for pid in self._programs.take() if self._programs else ():
            if not self._stopped.is_set():
                self._look_at_new(pid)
        for pid, since in self._verdicts.take_silent().items():
            if not self._stopped.is_set():
                look = self._scan.look(pid)
                asked = self._asked_looks.get(pid, look)
                self._explainer.explain_silence(look if look.files else asked, since)

    def _wait(self, timeout_s: float) -> None:
        """Return when there may be something to do, or after the timeout."""
        if self._programs:
            timeout_s = min(timeout_s, self._programs.due - time.monotonic())
        self._verdicts.wait(timeout_s)

    # Processes.

    def _look_at_new(self, pid: int) -> None:
        """Have files of a process examined that has begun to run a program."""
        look = self._scan.look(pid)
        for due in self._scan.unknown_of(look):
            self._add_mapped(due, mapped.opened(due.file))

    def _look_at(self, pid: int) -> None:
        """Have the files of a process examined, and answer then."""
        look = self._scan.look(pid)
        self._remember(look)
        unknown = [f for f in look.files if self._known.probes_in(f.identity) is None]
        # All at once: the process may end while the first one is examined.
        opened = {file: mapped.opened(file) for file in unknown[:OPENED_MAX]}
        for due in self._scan.due_of(look):
            fd = opened.pop(due.file, None)
            found = mapped.opened(due.file) if fd is None else fd
            self._add_mapped(due, found, is_urgent=True)
        for fd in filter(None, opened.values()):
            os.close(fd)
        self._asked.add(pid)
        self._settle_later(look)

    def _remember(self, look: Look) -> None:
        if look.files:
            self._asked_looks[look.pid] = look
            self._asked_looks.move_to_end(look.pid)
        if len(self._asked_looks) > ASKED_MAX:
            self._asked_looks.popitem(last=False)

    def _settle_later(self, look: Look) -> None:
        """Record what is known of a process when its files are examined."""
        contents = self._known.contents(file.identity for file in look.files)
        if not self._unsettled.add(look, self._examinations.pending(contents)):
            self._record(look)

    def _settle(self) -> None:
        """Record the processes whose files are all examined by now."""
        done = self._examinations.take_done()
        if done:
            # Now: secrets of listed libraries come from now on.
            self._verdicts.record_listed(self._known.listed_handles_at)
        for look in self._unsettled.take_settled(done):
            self._record(look)

    def _record(self, look: Look) -> None:
        if look.pid not in self._asked:
            self._scan.record(look)
            return
        self._asked.discard(look.pid)
        self._scan.answer(look)
        self._explainer.explain(look)

    # Files.

    def _has_room(self, deadline: float = _FOREVER) -> bool:
        """Wait until a file in no hurry may be added; return whether it may."""
        while not self._examinations.has_room:
            if self._stopped.is_set() or time.monotonic() > deadline:
                return False
            self._wait(_WAIT_S)
            self.answer()
        return not self._stopped.is_set() and time.monotonic() < deadline

    def _add_mapped(self, due: Due, fd: int | None, *, is_urgent: bool = False) -> None:
        if fd is None:
            return
        path, content = due.file.identity.path, self._content(fd)
        self._known.set_content(due.file.identity, content)
        self._add(
            File(fd, path, content, due.user, "info", is_urgent, may_be_learned=True)
        )

    def _add(self, file: File) -> None:
        if self._known.is_examined(file.content):
            os.close(file.fd)
        else:
            self._examinations.add(file)

    def _content(self, fd: int) -> Content:
        try:
            return self._probed.content(fd)
        except OSError:
            return UNREADABLE
