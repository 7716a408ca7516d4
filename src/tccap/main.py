"""The one entry point: the extcap calls, and the engine behind them."""

import sys


def main() -> int:
    """Run what the first argument says; return the exit status."""
    verb = sys.argv[1] if len(sys.argv) > 1 else ""
    if verb == "engine":
        from tccap import engine  # noqa: PLC0415  # each call loads what it needs

        return engine.main()
    if verb == "sweep":
        from tccap import engine  # noqa: PLC0415  # each call loads what it needs

        return engine.sweep()
    from tccap import front  # noqa: PLC0415  # each call loads what it needs

    return front.main(sys.argv[1:])
