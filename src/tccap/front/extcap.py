"""The sentences of the extcap protocol that Wireshark reads from stdout.

Each function returns the whole text of one call. Wireshark splits a sentence
at ``{key=value}``; a value must not hold a brace.
"""

from collections.abc import Callable, Iterable, Sequence

from tccap import __version__
from tccap.errors import TccapError
from tccap.front.options import OPTIONS, Option
from tccap.ipc.plan import ANY
from tccap.stream.linktypes import ETHERNET, LinkType

DISPLAY = "eBPF TC (pid-aware)"
PREFIX = "tccap-"


def interfaces(devices: Iterable[str], help_uri: str) -> str:
    """Answer --extcap-interfaces: ``tccap-any``, then one line a device."""
    head = f"extcap {{version={__version__}}}{{help={help_uri}}}{{display={DISPLAY}}}"
    names = [ANY, *(name for name in devices if sayable(name))]
    lines = [f"interface {{value={PREFIX}{n}}}{{display={DISPLAY}}}" for n in names]
    return _text([head, *lines])


def dlts(link: LinkType | None) -> str:
    """Answer --extcap-dlts. ``tccap-any`` (None) mixes; most of it is Ethernet."""
    link = link or ETHERNET
    return _text(
        [f"dlt {{number={link.dlt}}}{{name={link.name}}}{{display={link.display}}}"]
    )


Choices = Sequence[tuple[str, str]]


def _nothing(_option: str) -> Choices:
    return ()


def config(reload: str = "", changing: Callable[[str], Choices] = _nothing) -> str:
    """Answer --extcap-config: the options, then the values of the selectors.

    ``reload`` names the one selector whose reload button was pressed, or is
    empty; ``changing`` gives the values that such a selector has at present.
    """
    numbered = list(enumerate(OPTIONS))
    sentences = [] if reload else [_arg(*pair) for pair in numbered]
    for number, option in numbered:
        if reload in ("", option.name):
            present = changing(option.name) if reload and option.reload else ()
            choices = [*option.choices, *present]
            sentences += _values(number, choices, option.default)
    return _text(sentences)


def device_of(interface: str | None) -> str:
    """Return the device of one of our interfaces: ``eth0`` of ``tccap-eth0``."""
    if not interface or not interface.startswith(PREFIX):
        raise TccapError(f"Interfaces are named {PREFIX}..., not {interface or ''!r}.")
    return interface.removeprefix(PREFIX)


def sayable(device: str) -> bool:
    """Tell whether a device's name can stand in a sentence."""
    return not set(device) & set("{}")


def _arg(number: int, option: Option) -> str:
    parts = {
        "number": number,
        "call": f"--{option.name}",
        "display": option.display,
        "tooltip": option.tooltip,
        "type": option.kind,
    }
    if option.kind not in ("selector", "boolflag") and option.default != "":
        parts["default"] = option.default
    if option.limits:
        parts["range"] = f"{option.limits[0]},{option.limits[1]}"
    if option.kind == "fileselect":
        parts["mustexist"] = "false"
    if option.reload:
        parts["reload"] = "true"
        parts["placeholder"] = option.reload
    parts["group"] = option.group
    return "arg " + _braced(parts)


def _values(number: int, choices: Choices, default: object) -> list[str]:
    return [
        "value "
        + _braced(
            {
                "arg": number,
                "value": value,
                "display": display,
                "default": "true" if value == default else "false",
            }
        )
        for value, display in choices
    ]


def _braced(parts: dict[str, object]) -> str:
    return "".join(f"{{{key}={value}}}" for key, value in parts.items())


def _text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
