"""`tccap tls inspect FILE`: the finder's answer about a file, for people."""

from pathlib import Path

from tccap.errors import TccapError
from tccap.tls import sites, unsupported
from tccap.tls.inspector import Inspector
from tccap.tls.sites import Inspection, Number, Numbered, Site

# The names of the fields of a Site, by its kind.
_NAMES = {
    "line": ("label", "client random", "secret", "secret's bytes"),
    "key": ("label", "client random", "key", "key's bytes"),
    "value": ("type", "handle", "value", "value's bytes"),
}


def inspect(path: str) -> Inspection:
    """Return the finder's answer; TccapError if the file cannot be read."""
    try:
        with Path(path).open("rb") as file, Inspector() as inspector:
            answer = inspector.inspect(file.fileno())
            return unsupported.explained(answer, file.fileno(), path)
    except OSError as error:
        raise TccapError(f"{path} cannot be read: {error.strerror}.") from None


def describe(answer: Inspection) -> list[str]:
    """Return an Inspection as lines of text."""
    lines = [f"build id   {answer.build_id or 'none'}"]
    if answer.refusal:
        return [*lines, f"no secrets {answer.refusal}"]
    version = f" ({answer.version_hint})" if answer.version_hint else ""
    lines += [f"library    {answer.library}{version}", f"proven by  {answer.how}"]
    for site in answer.sites:
        lines += _describe_site(site)
    if answer.handle_at is not None:
        lines.append(f"handles at {answer.handle_at} of its keys")
    return lines


def _describe_site(site: Site) -> list[str]:
    names = _NAMES[site.kind]
    label = _label(site.label)
    length = site.secret_len
    return [
        f"probe at   {site.address:#x}",
        f"  {names[0]:14} {label}",
        f"  {names[1]:14} {_path(site.client_random)}",
        f"  {names[2]:14} {_path(site.secret)}",
        f"  {names[3]:14} {_number(length) if isinstance(length, Number) else length}",
    ]


def _label(label: str | Numbered | sites.Path) -> str:
    if isinstance(label, str):
        return label
    if isinstance(label, Numbered):
        return f"by {_number(label.number)}"
    return _path(label)


def _number(number: Number) -> str:
    return f"{8 * number.width} bits of {_path(number.path)}"


def _path(path: sites.Path) -> str:
    """Return a path as C would write it: the address, or the register alone."""
    text = path.register
    for n, offset in enumerate(path.offsets):
        text = f"{text} + {offset}" if offset else text
        if n < len(path.offsets) - 1:
            text = f"*({text})"
    return text
