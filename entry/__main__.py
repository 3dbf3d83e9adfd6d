"""Stiefelsystem's entry: understands the words, prepares this machine, then runs a playbook or the tests.

All logic lives in playbooks, roles and the agent; this only gets you there. It runs on the system's own Python, with
nothing but the standard library.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import documents
import drives
import ground
from request import Request, WordError, named, understood

ROOT = Path(__file__).resolve().parent.parent
AGENT = Path("/usr/sbin/stiefel-agent")
EXIT_REFUSED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


def version() -> str:
    """Return this tree's version."""
    found = re.search(r"^version: (.+)$", (ROOT / "galaxy.yml").read_text(), re.MULTILINE)
    return f"stiefelsystem {found[1] if found else 'of unknown version'}"


def build_dir() -> Path:
    """Return where things are built by default: see roles/stiefel/defaults/main.yml."""
    own = ROOT / "build"
    return own if (own / "key").is_dir() else Path("/var/lib/stiefelsystem")


def new_log(command: str) -> Path:
    """Return where the whole run of a command is written down: an empty file that only the caller reads."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")
    log = state / "stiefelsystem" / f"{command}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    log.touch(mode=0o600)
    return log


def environment() -> dict[str, str]:
    """Return the environment of Ansible and the tests: UTF-8 even where no language is set, and our settings."""
    tools = ROOT / ".venv/bin"
    ours = {
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "LC_ALL": "C.UTF-8",
        "PATH": f"{tools}:{os.environ.get('PATH', os.defpath)}",
    }
    return os.environ | ours


def asks_for_password() -> list[str]:
    """Ansible asks for sudo's password only where sudo would; -k leaves a remembered password out of account."""
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo") or "false"
    free = subprocess.run([sudo, "-k", "-n", "true"], check=False, capture_output=True).returncode == 0
    return [] if free else ["--ask-become-pass"]


def play(request: Request, playbook: str, *arguments: str) -> NoReturn:
    """Become ansible-playbook, in the caller's folder: relative paths mean what they say."""
    argv = ["ansible-playbook", str(ROOT / playbook), *arguments, *request.ansible, *asks_for_password()]
    log = new_log(request.command.name)
    shown = {"ANSIBLE_STDOUT_CALLBACK": "sft.stiefelsystem.short", "ANSIBLE_LOG_PATH": str(log)}
    os.execvpe(ROOT / ".venv/bin" / argv[0], argv, shown | environment())


def prepare(request: Request) -> None:
    """Refuse what cannot work, then make this machine ready for a command."""
    for inventory in request.inventories:
        if "," not in inventory and not Path(inventory).expanduser().exists():
            raise WordError(f"there is no inventory {inventory} in {Path.cwd()}.")
    ground.install_packages(request.command.name, "--yes" in request.flags)
    ground.make_venv(ROOT, request.command.name)


def usb(request: Request) -> NoReturn:
    """Write a stick, or make the image for one."""
    settings = []
    if request.operands:
        settings.append(f"usbdrive_device={drives.checked(request.operands[0])}")
        settings += [f"usbdrive_confirm_serial={serial}" for serial in request.operands[1:]]
    elif "--list" in request.flags:
        print(drives.table(drives.choices(build_dir() / "stiefel-usb.img")))
        sys.exit()
    elif "--image" not in request.flags:
        chosen = drives.ask(drives.choices(build_dir() / "stiefel-usb.img"))
        settings = [f"usbdrive_device={chosen.name}", f"usbdrive_confirm_serial={chosen.serial}"]
    prepare(request)
    tags = ("--tags=key,ramdisk,usbdrive",)
    play(request, "site.yml", *tags, *(word for setting in settings for word in ("--extra-vars", setting)))


def uninstall(request: Request) -> NoReturn:
    """Undo everything, after a question: keys are gone for good."""
    looks = {"--check", "-C", "--list-tasks", "--list-hosts", "--syntax-check"} & set(request.ansible)
    if "--yes" not in request.flags and not looks:
        if not sys.stdin.isatty():
            raise WordError("this deletes the keys, and nobody is here to ask. Say --yes.")
        print(
            f"This removes Stiefelsystem, and deletes the keys in {build_dir()}: no stick made with them works again."
        )
        if input("Go on? [y/N] ").strip().lower() not in ("y", "yes"):
            raise WordError("nothing was removed.")
    prepare(request)
    play(request, "playbooks/uninstall.yml")


def known_rows(names: list[str]) -> None:
    """Refuse rows that no benchmark has."""
    sys.path.append(str(ROOT))
    from benchmarks.rows import chosen  # noqa: PLC0415 - the folder is on no path before

    try:
        chosen(names)
    except ValueError as error:
        raise WordError(str(error)) from None


def status(flags: set[str]) -> NoReturn:
    """Let the agent say how this machine stands."""
    if not AGENT.exists():
        print("Stiefelsystem is not installed on this machine. './stiefel preflight' looks whether it can be.")
        sys.exit(EXIT_REFUSED)
    os.execv(AGENT, [str(AGENT), "status", *sorted(flags & {"--json", "--watch"})])


def run(request: Request) -> None:
    """Do what is asked for."""
    name = request.command.name
    if "--help" in request.flags:
        print(documents.about(request.command))
    elif "--version" in request.flags:
        print(version())
    elif name == "help":
        print(documents.about(named(request.operands[0])) if request.operands else documents.overview())
    elif name == "completion":
        print(documents.completion())
    elif name == "status":
        status(request.flags)
    elif name == "usb":
        usb(request)
    elif name == "uninstall":
        uninstall(request)
    else:
        if name == "bench":
            known_rows(request.operands)
        prepare(request)
        start(request)


def start(request: Request) -> NoReturn:
    """Run the tests, the benchmarks, or the playbook that has a command's name."""
    name = request.command.name
    if name == "test":
        fast = ["--fast"] if "--fast" in request.flags else []
        argv = ["python", str(ROOT / "tests/run.py"), *fast, *request.operands]
        os.execvpe(ROOT / ".venv/bin/python", argv, environment())
    if name == "bench":
        quick = ["--quick"] if "--quick" in request.flags else []
        argv = ["python", "-m", "benchmarks", *quick, *request.operands]
        os.execvpe(ROOT / ".venv/bin/python", argv, environment() | {"PYTHONPATH": str(ROOT)})
    hold = ("--extra-vars", "demo_hold=true") if "--hold" in request.flags else ()
    play(request, "site.yml" if name == "install" else f"playbooks/{name}.yml", *hold)


def main() -> int:
    """Run one command; what cannot be done ends with one line that says why, and what to do."""
    if not (3, 11) <= sys.version_info < (3, 15):
        found = platform.python_version()
        print(
            f"stiefel: Python 3.11 to 3.14 is needed, and python3 is {found}: put another first on PATH.",
            file=sys.stderr,
        )
        return EXIT_REFUSED
    if not sys.argv[1:]:
        print(documents.brief())
        return 0
    try:
        request = understood(sys.argv[1:])
        if os.environ.get("CI"):
            request.flags.add("--yes")
        run(request)
    except WordError as error:
        print(f"stiefel: {error}", file=sys.stderr)
        return EXIT_USAGE
    except (ground.GroundError, drives.DriveError) as error:
        print(f"stiefel: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except (KeyboardInterrupt, EOFError):
        print("\nstiefel: interrupted; nothing was changed.", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
