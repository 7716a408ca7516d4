"""The sentences that describe the options to Wireshark's dialog.

Wireshark splits a sentence at ``{key=value}``; a value must not hold a brace. Run by
itself, this module writes the answer that listing.py has ready:
``python -m tccap.front.extcap > src/tccap/front/config.txt``.
"""

import sys
from collections.abc import Callable, Sequence

from tccap.front.options import OPTIONS, Option

Choices = Sequence[tuple[str, str]]  # the values of a selector, and their texts


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


if __name__ == "__main__":
    sys.stdout.write(config())
