"""What ./stiefel understands: the one source of its help, its man page, its completion and its parser."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """A word that does something, what may stand behind it, and what it does."""

    name: str
    operands: str
    meaning: str
    plays: bool = False
    """Whether it runs a playbook, and so takes Ansible's options."""


@dataclass(frozen=True)
class Option:
    """An option: its spellings, the name of its value if it takes one, and the commands that know it."""

    names: tuple[str, ...]
    meaning: str
    value: str = ""
    commands: tuple[str, ...] = ()
    """Empty: all of them, or with `ansible` all that run a playbook."""
    ansible: bool = False
    """Handed to ansible-playbook as it is."""

    def known_to(self, command: Command) -> bool:
        """Say whether a command takes this option."""
        if self.commands:
            return command.name in self.commands
        return command.plays or not self.ansible


SUMMARY = "Boot a desktop PC from your laptop's own disk, over a cable."

COMMANDS = (
    Command("preflight", "", "look whether it will work here; changes nothing", True),
    Command("install", "", "set up the laptop, make the stick's image", True),
    Command("usb", "[DEVICE [SERIAL]]", "write the stick; without a DEVICE, ask for one", True),
    Command("status", "", "how this machine stands, and how its cable does"),
    Command("uninstall", "", "undo it all; asks before the keys are deleted", True),
    Command("demo", "", "try it all in two virtual machines, with pictures", True),
    Command("test", "[STEP ...]", "every check, or the steps whose names contain STEP"),
    Command("bench", "[ROW ...]", "measure speed and size, all or rows such as P6"),
    Command("completion", "", "for bash, as in: source <(./stiefel completion)"),
    Command("help", "[COMMAND]", "more of this, or what one command takes"),
)
"""Their meanings leave room for their names in 80 columns."""


def ansible(*names: str, meaning: str, value: str = "") -> Option:
    """Return an option of ansible-playbook(1)."""
    return Option(names, meaning, value, ansible=True)


YES = Option(("--yes",), "do not ask: neither for packages, nor at uninstall")
EVERYWHERE = (
    Option(("-h", "--help"), "what the command takes"),
    Option(("--version",), "say which version this is"),
)
SHOWN = (
    YES,
    Option(("--json",), "for programs: one object, in one line", commands=("status",)),
    Option(("--watch",), "again every second, until Ctrl-C", commands=("status",)),
    Option(("--list",), "only show the USB drives", commands=("usb",)),
    Option(("--image",), "only make the image that a stick is written from", commands=("usb",)),
    Option(("--hold",), "keep both machines running", commands=("demo",)),
    Option(("--fast",), "leave the virtual machines and the initrds out", commands=("test",)),
    Option(("--quick",), "only show that measuring works; keeps nothing", commands=("bench",)),
    ansible("-C", "--check", meaning="change nothing, say what would be changed"),
    ansible("-v", "--verbose", meaning="show everything that Ansible does; -vvv shows more"),
    ansible("-i", "--inventory", meaning="the laptops, as Ansible lists them (inventory/)", value="FILE"),
    ansible("-l", "--limit", meaning="only these laptops, such as anna", value="HOSTS"),
    ansible("-e", "--extra-vars", meaning="a setting, such as key_rotate=true, or @FILE", value="SETTING"),
)
"""What the help of the commands that take it shows; the man page has all."""
OPTIONS = (
    *EVERYWHERE,
    *SHOWN,
    ansible("-D", "--diff", meaning="show the differences in files"),
    ansible("-t", "--tags", meaning="only these roles, such as usbdrive", value="ROLES"),
    ansible("--skip-tags", meaning="not these roles", value="ROLES"),
    ansible("-f", "--forks", meaning="how many laptops at once", value="NUMBER"),
    ansible("-u", "--user", meaning="who to log in as on other machines", value="NAME"),
    ansible("-k", "--ask-pass", meaning="ask for the password of that login"),
    ansible("-K", "--ask-become-pass", meaning="ask for sudo's password (done where sudo would)"),
    ansible("--private-key", meaning="the ssh key of that login", value="FILE"),
    ansible("-J", "--ask-vault-password", meaning="ask for the password of a vault"),
    ansible("--vault-password-file", meaning="a file with that password", value="FILE"),
    ansible("--list-hosts", meaning="only show which machines it is about"),
    ansible("--list-tasks", meaning="only show the steps"),
    ansible("--syntax-check", meaning="only read the playbook"),
    ansible("--start-at-task", meaning="leave out what comes before this step", value="STEP"),
)

HINTS = {"--dry-run": "--check", "-n": "--check", "-y": "--yes", "--quiet": "", "-q": ""}
"""What people try, and what it is called here; empty: it is so anyway."""


def command(name: str) -> Command:
    """Return a command by its name; raises KeyError."""
    return {known.name: known for known in COMMANDS}[name]


def options_of(chosen: Command) -> list[Option]:
    """Return the options that a command takes."""
    return [option for option in OPTIONS if option.known_to(chosen)]
