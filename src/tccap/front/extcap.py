"""The sentences of the extcap protocol that Wireshark reads from stdout.

Each function returns the whole text of one call. Wireshark splits a sentence
at ``{key=value}``; a value must not hold a brace.
"""

from collections.abc import Callable, Iterable, Sequence

from tccap import __version__
from tccap.errors import TccapError
from tccap.front.options import OPTIONS, Option
from tccap.ipc.values import ANY
from tccap.stream.linktypes import ETHERNET, LinkType

DISPLAY = "eBPF TC (pid-aware)"
PREFIX = "tccap-"

Choices = Sequence[tuple[str, str]]  # the values of a selector, and their texts


def interfaces(devices: Iterable[str], help_uri: str) -> str:
    """Answer --extcap-interfaces: ``tccap-any``, then one line a device."""
    head = f"extcap {{version={__version__}}}{{help={help_uri}}}{{display={DISPLAY}}}"
    names = [ANY, *(name for name in devices if is_listable(name))]
    lines = [f"interface {{value={PREFIX}{n}}}{{display={DISPLAY}}}" for n in names]
    return _text([head, *lines])


def dlts(link: LinkType | None) -> str:
    """Answer --extcap-dlts for a link type, or for ``tccap-any`` (None).

    ``tccap-any`` mixes link types; most packets are Ethernet.
    """
    link = link or ETHERNET
    return _text(
        [f"dlt {{number={link.dlt}}}{{name={link.name}}}{{display={link.display}}}"]
    )


def _nothing(_option: str) -> Choices:
    return ()


def config(reload: str = "", changing: Callable[[str], Choices] = _nothing) -> str:
    """Answer --extcap-config: the options, then the values of the selectors.

    ``reload`` names the one selector whose reload button was pressed, or is
    empty; ``changing`` returns the present values of such a selector.
    """
    numbered = list(enumerate(OPTIONS))
    sentences = [] if reload else [_arg(*pair) for pair in numbered]
    for number, option in numbered:
        if reload in ("", option.name):
            present = changing(option.name) if reload and option.entry.reload else ()
            choices = [*option.entry.choices, *present]
            sentences += _values(number, choices, option.default)
    return _text(sentences)


def device_of(interface: str | None) -> str:
    """Return the device of one of our interfaces: ``eth0`` of ``tccap-eth0``.

    TccapError if the interface is not one of ours.
    """
    if not interface or not interface.startswith(PREFIX):
        raise TccapError(f"Interfaces are named {PREFIX}..., not {interface or ''!r}.")
    return interface.removeprefix(PREFIX)


def is_listable(text: str) -> bool:
    """Return whether a text can stand in a sentence, such as a device's name."""
    return not set(text) & set("{}")


def _arg(number: int, option: Option) -> str:
    entry = option.entry
    parts = {
        "number": number,
        "call": f"--{option.name}",
        "display": entry.display,
        "tooltip": entry.tooltip,
        "type": entry.kind,
    }
    if entry.kind not in ("selector", "boolflag") and option.default != "":
        parts["default"] = option.default
    if entry.limits:
        parts["range"] = f"{entry.limits[0]},{entry.limits[1]}"
    if entry.kind == "fileselect":
        parts["mustexist"] = "false"
    if entry.reload:
        parts["reload"] = "true"
        parts["save"] = "false"
        parts["placeholder"] = entry.reload
    parts["group"] = entry.group
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
