"""The one entry point: the extcap calls, what they start, and what people call."""

import sys


def main() -> int:
    """Run what the first argument says; return the exit status."""
    verb = sys.argv[1] if len(sys.argv) > 1 else ""
    if verb in ("check", "sweep", "tls") and not _is_engine_python():
        from tccap.front import launcher  # noqa: PLC0415  # each call loads what it needs

        launcher.restart(*sys.argv[1:])
    if verb == "check":
        from tccap.check import check  # noqa: PLC0415  # each call loads what it needs

        return check.main()
    if verb == "engine":
        from tccap.engine import engine  # noqa: PLC0415  # each call loads what it needs

        return engine.main()
    if verb == "sweep":
        from tccap.engine import engine  # noqa: PLC0415  # each call loads what it needs

        return engine.sweep()
    if verb == "tls":
        from tccap.check import inspection  # noqa: PLC0415  # each call loads what it needs

        return inspection.main(sys.argv[2:])
    if verb == "finder":
        from tccap.tls.finder import entry  # noqa: PLC0415  # each call loads what it needs

        return entry.main()
    from tccap.front import front  # noqa: PLC0415  # each call loads what it needs

    return front.main(sys.argv[1:])


def _is_engine_python() -> bool:
    """Tell whether we were started as the engine is: site packages, but no more."""
    return bool(sys.flags.isolated) and not sys.flags.no_site
