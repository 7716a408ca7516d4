"""Who may import whom: main -> engine, front -> edges -> bpfcall, core -> errors."""

import ast
import subprocess
from pathlib import Path

import pytest

from tccap.paths import SCRIPT, TOP

PACKAGE = Path(TOP) / "src" / "tccap"
# Core is pure; an edge stands for one outside thing, and edges do not know each
# other; what brings edges together stands above them, what several need below. A new
# module says here where it belongs.
LAYERS = (
    {"errors"},
    {
        *{"__init__", "abi", "blocks", "bpfobject", "cbpf", "extcap", "filterblocks"},
        *{"filterc", "filterlang", "gate", "keyjoin", "keylog", "label", "linktypes"},
        *{"options", "paths", "plan", "probetable", "processfilter", "tlssites"},
    },
    {"bcclib", "bpfcall", "bpfmap", "bpfprog", "rootcache"},
    {
        *{"access", "btf", "btfattach", "clock", "clsact", "compiler", "devices"},
        *{"facilities", "filewatch", "hooks", "host", "inspector", "kernel"},
        *{"keylogfile", "launcher", "libpcap", "libraries", "mapped", "output"},
        *{"privileges", "proc", "realtime", "ring", "seeding", "status", "tcx"},
        *{"tracepoints", "uprobes"},
    },
    {
        *{"addresses", "attribution", "capture", "capturefilter", "check", "descent"},
        *{"filtercheck", "inspection", "interfaces", "probes", "programs"},
        *{"supervisor", "taps", "tls", "tracing"},
    },
    {"engine", "front"},
    {"main"},
)
EDGES = 3
# What touches the outside; core may use none of it.
OUTSIDE = {"bcc", "fcntl", "mmap", "os", "pyroute2", "signal", "socket", "subprocess"}
# Wireshark calls these once for every device, so each module counts.
SLOW = {"bcc", "pyroute2", "asyncio", "importlib.metadata", "pcapng", "logging"}
LISTINGS = (
    ("--extcap-interfaces", "--extcap-version=4.6"),
    ("--extcap-config", "--extcap-interface", "tccap-lo"),
    ("--extcap-dlts", "--extcap-interface", "tccap-lo"),
    ("--extcap-config", "--extcap-interface=tccap-lo", "--extcap-reload-option=pid"),
)


def _layer(module: str) -> int:
    return next(n for n, layer in enumerate(LAYERS) if module in layer)


def _imports(module: str) -> set[str]:
    """Return what a module imports; of this package by the short name."""
    tree = ast.parse((PACKAGE / f"{module}.py").read_text())
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            names = {alias.name for alias in node.names}
            found |= {f"tccap.{n}" for n in names} if source == "tccap" else {source}
    return {name.removeprefix("tccap.") for name in found}


MODULES = sorted(path.stem for path in PACKAGE.glob("*.py"))


def test_every_module_has_its_layer() -> None:
    assert sorted(set().union(*LAYERS)) == MODULES


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module: str) -> None:
    layer = _layer(module)
    for other in _imports(module) & {*MODULES}:
        assert _layer(other) <= layer, f"{module} imports {other} of a higher layer"
        same = _layer(other) == layer
        assert not (same and layer == EDGES), f"the edge {module} imports {other}"


FINDER = sorted(path.stem for path in (PACKAGE / "finder").glob("*.py"))
# It runs in a process of its own, with packages that nothing else needs.
FINDERS_OWN = {"capstone", "numpy", "numpy.typing", "unicorn"}


@pytest.mark.parametrize("module", FINDER)
def test_the_finder_knows_only_what_it_answers(module: str) -> None:
    ours = {name for name in _imports(f"finder/{module}") if _is_ours(name)}
    assert ours <= {"errors", "tlssites"}


@pytest.mark.parametrize("module", MODULES)
def test_the_finder_is_entered_through_its_own_process(module: str) -> None:
    imports = _imports(module)
    assert not imports & FINDERS_OWN
    into_finder = {name for name in imports if name.split(".")[0] == "finder"}
    assert into_finder <= ({"finder"} if module == "main" else set())


def _is_ours(name: str) -> bool:
    return name in set().union(*LAYERS)


@pytest.mark.parametrize("module", sorted(LAYERS[0] | LAYERS[1]))
def test_core_touches_nothing_outside(module: str) -> None:
    assert not _imports(module) & OUTSIDE


@pytest.mark.parametrize("arguments", LISTINGS, ids=" ".join)
def test_listings_import_nothing_slow(arguments: tuple[str, ...]) -> None:
    interpreter = Path(SCRIPT).read_text().splitlines()[0].removeprefix("#!").split()
    done = subprocess.run(
        [*interpreter, "-X", "importtime", SCRIPT, *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert {"tccap.front", "argparse"} <= imported
    assert not imported & SLOW
