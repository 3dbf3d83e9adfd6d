"""Help, man page and completion, made from the table of words."""

from __future__ import annotations

from collections.abc import Iterable

from words import COMMANDS, EVERYWHERE, OPTIONS, SHOWN, SUMMARY, YES, Command, Option, options_of

COLUMN = 28
MAN = "docs/stiefel.1"


def entry(left: str, right: str) -> str:
    """Return one line of the help, the meaning in its own column."""
    return f"  {left:{COLUMN - 2}}{right}"


def spelling(option: Option) -> str:
    """Return how an option is written."""
    return ", ".join(option.names) + (f" {option.value}" if option.value else "")


def commands() -> list[str]:
    """Return a line for each command."""
    return [entry(f"{command.name} {command.operands}".rstrip(), command.meaning) for command in COMMANDS]


def brief() -> str:
    """Return what is said to who says nothing."""
    return "\n".join([SUMMARY, "", *commands()])


def overview() -> str:
    """Return the help that fits on a screen."""
    ours = [entry(spelling(option), option.meaning) for option in (YES, *EVERYWHERE)]
    return "\n".join(
        [SUMMARY, "", "Usage: ./stiefel COMMAND [OPTION ...]", "", *commands(), "", *ours, "",
         "Ansible's options work, too: './stiefel help install' shows the usual ones,",
         f"{MAN} all of them. All settings are in docs/variables.md."]
    )  # fmt: skip


def about(command: Command) -> str:
    """Return what one command does, and what it takes beside what all do."""
    usage = " ".join(filter(None, ("Usage: ./stiefel", command.name, command.operands, "[OPTION ...]")))
    shown = [entry(spelling(option), option.meaning) for option in SHOWN if option.known_to(command)]
    more = [f"Ansible's other options work, too: {MAN} has them."] if command.plays else []
    return "\n".join([usage, f"{command.meaning[0].upper()}{command.meaning[1:]}.", *shown, *more])


def roff(text: str) -> str:
    """Return text as roff takes it literally."""
    return text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq")


def listed(entries: Iterable[tuple[str, str]]) -> list[str]:
    """Return a list of man(7): each entry's name in bold, what it means below."""
    return [line for name, meaning in entries for line in (".TP", f".B {roff(name)}", roff(meaning) + ".")]


def man() -> str:
    """Return the man page."""
    words = ((f"{command.name} {command.operands}".rstrip(), command.meaning) for command in COMMANDS)
    options = ((spelling(option), where(option)) for option in OPTIONS)
    lines = [
        '.TH STIEFEL 1 "" Stiefelsystem', ".SH NAME", rf"stiefel \- {roff(SUMMARY[0].lower() + SUMMARY[1:-1])}",
        ".SH SYNOPSIS", ".B ./stiefel", r"\fICOMMAND\fR [\fIOPTION\fR ...]",
        ".SH COMMANDS", *listed(words), ".SH OPTIONS", *listed(options),
        ".SH FILES", *listed([
            ("/var/lib/stiefelsystem", "keys, ramdisk and the stick's image, on the machine that builds them"),
            ("/var/cache/stiefelsystem", "what may be thrown away at any time"),
            ("~/.local/state/stiefelsystem", "the log of the last run of each command"),
        ]),
        ".SH SEE ALSO", roff("README.md, docs/variables.md, docs/troubleshooting.md, ansible-playbook(1)"),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def where(option: Option) -> str:
    """Return an option's meaning, with the commands that take it if those are few."""
    return f"{option.meaning} ({', '.join(option.commands)})" if option.commands else option.meaning


def completion() -> str:
    """Return a completion for bash."""
    taken = {command.name: [name for option in options_of(command) for name in option.names] for command in COMMANDS}
    cases = [f'        {name}) words="{" ".join(options)}" ;;' for name, options in taken.items()]
    names = " ".join(command.name for command in COMMANDS)
    return "\n".join(
        [
            "# Completion for Stiefelsystem's entry: source <(./stiefel completion)",
            "_stiefel() {",
            f'    local words="{names}"',
            '    [ "$COMP_CWORD" -le 1 ] || case ${COMP_WORDS[1]} in',
            *cases,
            "    esac",
            '    [ "${COMP_WORDS[1]}" != usb ] || words="$words $(echo /dev/disk/by-id/usb-*)"',
            '    mapfile -t COMPREPLY < <(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}")',
            "    [ ${#COMPREPLY[@]} -gt 0 ] || compopt -o default",
            "}",
            "complete -F _stiefel stiefel ./stiefel",
        ]
    )
