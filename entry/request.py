"""Words on the command line -> what is asked for, or one line that says what is wrong. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from words import COMMANDS, HINTS, Command, Option, command, options_of

OPERANDS = {"usb": 2, "test": 99, "bench": 99, "help": 1}
"""How many words may stand behind a command; without an entry, none."""


class WordError(Exception):
    """The command line cannot be understood; the text is one line for who typed it."""


@dataclass
class Request:
    """What is asked for: a command, the words behind it, our own options, and what is for ansible-playbook."""

    command: Command
    operands: list[str] = field(default_factory=list)
    flags: set[str] = field(default_factory=set)
    ansible: list[str] = field(default_factory=list)
    inventories: list[str] = field(default_factory=list)
    """The values of -i, which are among `ansible`, too."""


def suggestion(word: str, known: Sequence[str]) -> str:
    """Return " Did you mean ...?" for a word that is like a known one, or nothing."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f" Did you mean {close[0]}?" if close else ""


def named(word: str) -> Command:
    """Return the command that a word names."""
    try:
        return command(word)
    except KeyError:
        guess = suggestion(word, [known.name for known in COMMANDS]) or " './stiefel help' lists them all."
        raise WordError(f"there is no command '{word}'.{guess}") from None


def split(word: str) -> tuple[str, str | None]:
    """Return an option's name and the value that is written with it, as in --limit=anna or -eone=1."""
    if word.startswith("--"):
        name, equals, value = word.partition("=")
        return name, value if equals else None
    return word[:2], word[2:] or None


def spelt(asked: Command, name: str, word: str) -> Option:
    """Return the option that a command knows by this name."""
    known = {name: option for option in options_of(asked) for name in option.names}
    if name in known:
        return known[name]
    if hint := HINTS.get(name):
        guess = f" Did you mean {hint}?"
    elif name in HINTS:
        guess = " It says little by itself."
    else:
        guess = suggestion(name, list(known)) or f" './stiefel help {asked.name}' lists what it takes."
    raise WordError(f"{asked.name} knows no option {word}.{guess}")


def take(request: Request, word: str, rest: Iterator[str]) -> None:
    """Add one option, and its value from the words behind it, to the request."""
    name, value = split(word)
    option = spelt(request.command, name, word)
    if option.value and value is None:
        value = next(rest, None)
    if option.value and not value:
        raise WordError(f"{name} needs a value: {name} {option.value}")
    if value and not option.value and not (name == "-v" and set(value) == {"v"}):
        raise WordError(f"{name} takes no value, and {value!r} was given.")
    if not option.ansible:
        request.flags.add(option.names[-1])
        return
    request.ansible += [name, value] if option.value and value else [word]
    if "--inventory" in option.names and value:
        request.inventories.append(value)


def understood(words: Sequence[str]) -> Request:
    """Return what a command line asks for; raises WordError."""
    rest = iter(words)
    first = next(rest)
    if first in ("-h", "--help", "--version"):
        return Request(command("help"), flags={"--version"} if first == "--version" else set())
    request = Request(named(first))
    for word in rest:
        if word.startswith("-"):
            take(request, word, rest)
        else:
            request.operands.append(word)
    most = OPERANDS.get(request.command.name, 0)
    if len(request.operands) > most:
        raise WordError(
            f"{first} does not know what to do with '{request.operands[most]}'. See './stiefel help {first}'."
        )
    return request
