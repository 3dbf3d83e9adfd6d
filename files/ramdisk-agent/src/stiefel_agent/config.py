"""What a role was told: configuration files, as frozen objects."""

from __future__ import annotations

import json
from dataclasses import MISSING, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from stiefel_agent.errors import BadConfiguration, KeyFileError
from stiefel_agent.protocol import keys
from stiefel_agent.protocol.sizes import LARGEST

KEY_FILE = Path("/etc/stiefel/key.json")
SERVER_FILE = Path("/etc/stiefel/server.json")
AUTOKEXEC_FILE = Path("/etc/stiefel/autokexec.json")
BUNDLE_FOLDER = Path("/etc/stiefel/bundle")
"""In the server's ramdisk: `vmlinuz`, `initrd.img`, `cmdline` and `kernel-version`, as autokexec appended them."""


class Encryption(StrEnum):
    """What protects the block traffic."""

    WIREGUARD = "wireguard"
    NONE = "none"


class Consent(StrEnum):
    """Whether the person at the laptop is asked before it moves into the server."""

    COUNTDOWN = "countdown"
    ASK = "ask"
    NONE = "none"


class AfterSession(StrEnum):
    """What the laptop does when its disk was given back."""

    RETURN = "return"
    """It restarts into its normal system."""
    WAIT = "wait"
    """It waits for the next desktop."""
    POWEROFF = "poweroff"


class Method(StrEnum):
    """How the laptop becomes the server."""

    KEXEC = "kexec"
    BOOTLOADER = "bootloader"
    """By an entry for one time, where kexec hangs."""


class WhenLost(StrEnum):
    """What a target does when its laptop says that the session is over."""

    RESTART = "restart"
    WAIT = "wait"


_ENUMS: dict[str, type[StrEnum]] = {
    "Encryption": Encryption,
    "Consent": Consent,
    "AfterSession": AfterSession,
    "Method": Method,
    "WhenLost": WhenLost,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _FromJson:
    """A flat object that is read from a JSON file: strict on names and types."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the file; raises BadConfiguration naming file and setting."""
        try:
            document = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise BadConfiguration(f"{path}: {error}") from error
        try:
            return cls.parse(document)
        except (KeyError, TypeError, ValueError) as error:
            raise BadConfiguration(f"{path}: {error}") from error

    @classmethod
    def parse(cls, document: Any) -> Self:
        """Check names and types; raises ValueError."""
        if not isinstance(document, dict):
            raise ValueError("expected one object")
        known = {field.name: field for field in fields(cls)}
        if unknown := set(document) - set(known):
            raise ValueError(f"unknown setting {sorted(unknown)[0]!r}")
        if missing := {name for name, field in known.items() if field.default is MISSING} - set(document):
            raise ValueError(f"missing setting {sorted(missing)[0]!r}")
        return cls(**{name: _convert(name, str(known[name].type), value) for name, value in document.items()})


def _convert(name: str, wanted: str, value: object) -> Any:
    """Return a JSON value as the type that a field is annotated with; raises ValueError."""
    if enum := _ENUMS.get(wanted):
        try:
            return enum(str(value))
        except ValueError:
            choices = " | ".join(member.value for member in enum)
            raise ValueError(f"{name} is {value!r}; it must be one of: {choices}") from None
    if wanted == "tuple[str, ...]" and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    if (wanted, type(value)) in (("str", str), ("int", int), ("bool", bool)):
        return value
    raise ValueError(f"{name} is {value!r}; it must be: {wanted}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig(_FromJson):
    """What autokexec tells the server."""

    disk: str
    """The whole disk to export, by-id."""
    laptop: str
    """The laptop's name, for people."""
    encryption: Encryption = Encryption.WIREGUARD
    connections: int = 4
    """NBD connections of the target, 1 to 16."""
    mtu: int = LARGEST
    """Bytes of the largest packet that may be sent over the cable, if it takes such ones."""
    takeover_seconds: int = 0
    """After so many seconds of a target's silence another desktop may have the disk; 0: never by itself."""
    after_session: AfterSession = AfterSession.RETURN
    beeps: bool = True
    """The PC speaker sounds when the laptop's battery runs out."""
    clock_ahead: int = 0
    """Seconds by which the server's clock, which comes from the hardware's, is ahead of the laptop's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AutokexecConfig(_FromJson):
    """What the role autokexec set on this laptop."""

    disk: str = ""
    """The whole disk to export, by-id; empty: the one that / is on."""
    laptop: str = ""
    """The laptop's name; empty: its host name."""
    encryption: Encryption = Encryption.WIREGUARD
    connections: int = 4
    mtu: int = LARGEST
    takeover_seconds: int = 0
    after_session: AfterSession = AfterSession.RETURN
    beeps: bool = True
    consent: Consent = Consent.COUNTDOWN
    countdown_seconds: int = 10
    method: Method = Method.KEXEC
    kernel_args: str = ""
    """Added to the ramdisk's command line when the laptop moves into the server."""
    target_args: str = ""
    """Added to the target's command line."""
    target_when_lost: WhenLost = WhenLost.RESTART
    target_args_dropped: tuple[str, ...] = ()
    """Names of parameters that the target does not get, beside those that can never be right there."""


def read_keys(path: Path = KEY_FILE) -> tuple[keys.Entry, ...]:
    """Return the entries of this machine's key file; raises KeyFileError."""
    try:
        return keys.parse(path.read_bytes())
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}") from error
