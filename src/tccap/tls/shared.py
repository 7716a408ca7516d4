"""What all threads of a capture's tracing have in common."""

import threading
from typing import NamedTuple

from tccap.tls.knownfiles import KnownFiles
from tccap.tls.probedfiles import ProbedFiles
from tccap.tls.verdicts import Verdicts


class Shared(NamedTuple):
    """Each part is for any thread; ``stopped`` is set at the end."""

    known: KnownFiles
    probed: ProbedFiles
    verdicts: Verdicts
    stopped: threading.Event

    def goes_on(self) -> bool:
        """Return whether the end has not come yet."""
        return not self.stopped.is_set()
