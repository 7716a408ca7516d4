"""The one entry point: Wireshark's calls, the engine, and people's commands.

Each call imports only what it needs: Wireshark waits for the short ones.
"""

import os
import sys

_STDOUT, _STDERR = 1, 2


def main() -> int:
    """Run what the first argument says; return the exit status."""
    _open_standard_files()
    verb = sys.argv[1] if len(sys.argv) > 1 else ""
    if verb in ("check", "sweep", "tls") and not _is_engine_python():
        from tccap.front import launcher

        launcher.restart(*sys.argv[1:])
    if verb == "check":
        from tccap.check import check

        return check.main()
    if verb == "engine":
        from tccap.engine import engine

        return engine.main()
    if verb == "sweep":
        from tccap.engine import engine

        return engine.sweep()
    if verb == "tls":
        from tccap.check import tlscommands

        return tlscommands.main(sys.argv[2:])
    if verb in ("compiler", "finder"):
        return _helper(verb)
    return _front(sys.argv[1:])


def _open_standard_files() -> None:
    """Open those that are closed, so that no file of ours takes their place.

    Stdin and stdout cannot be used then, either: they are opened the other way round.
    """
    modes = (os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)
    for fd, mode in enumerate(modes):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, mode)  # takes the lowest number that is free: fd
    sys.stdout = sys.stdout or os.fdopen(_STDOUT, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(_STDERR, "w", closefd=False)


def _front(argv: list[str]) -> int:
    """Serve a call of Wireshark or of a person."""
    from tccap.front import listing

    status = listing.main(argv)
    if status is not None:
        return status
    from tccap.front import front

    return front.main(argv)


def _helper(verb: str) -> int:
    """Run a process that the engine starts; it gives up its rights."""
    import signal

    # If the engine has ended, nobody reads the answer: end without a traceback.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if verb == "compiler":
        from tccap.bpf import compilation

        return compilation.main()
    from tccap.tls.finder import entry

    return entry.main()


def _is_engine_python() -> bool:
    """Return whether we were started as the engine is: with site packages only."""
    return bool(sys.flags.isolated) and not sys.flags.no_site
