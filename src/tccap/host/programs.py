"""What people call a program: its file, or the script that an interpreter runs."""

import re

_INTERPRETERS = re.compile(r"(python|node|nodejs|ruby|perl|php|java)[\d.]*")
# Options of these interpreters whose value is an argument of its own.
_WITH_VALUE = {"-cp", "-classpath", "--class-path", "-p", "--module-path", "-W", "-X"}
_NAMES_PROGRAM = {"-m", "-jar"}
_HAS_NO_NAME = {"-c", "-e"}  # their value is the program's text


def words(exe: str, args: list[str]) -> list[str]:
    """Return how a program is called: base name, script and arguments.

    ``exe`` is its path; ``args`` are the arguments after argv[0].
    """
    base = _base(exe)
    return [base, *(_from_script(args) if _is_interpreter(base) else args)]


def name(exe: str, args: list[str]) -> str:
    """Return the base name of the program's file, or of an interpreter the script's."""
    base = _base(exe)
    if not _is_interpreter(base):
        return base
    match _from_script(args):
        case [option, found, *_] if option in _NAMES_PROGRAM and found:
            return _file_name(found) or base
        case [found, *_] if not found.startswith("-"):
            return found or base
    return base


def _base(exe: str) -> str:
    return _file_name(exe.removesuffix(" (deleted)"))


def _file_name(path: str) -> str:
    return path.rpartition("/")[2]


def _is_interpreter(base: str) -> bool:
    return bool(_INTERPRETERS.fullmatch(base))


def _from_script(args: list[str]) -> list[str]:
    """Return the arguments from the one that names the script or module on."""
    number = 0
    while number < len(args):
        if args[number] in _NAMES_PROGRAM | _HAS_NO_NAME:
            return args[number:]
        if not args[number].startswith("-"):
            return [_file_name(args[number]), *args[number + 1 :]]
        number += 2 if args[number] in _WITH_VALUE else 1
    return args
