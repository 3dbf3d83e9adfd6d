"""LUKS: the desktop's TPM cannot open what was bound to the laptop's, and a key file may stay behind."""

from __future__ import annotations

from collections.abc import Iterator

from stiefel_agent.laptop.tables import crypttab

from stiefel_preflight.laptop import Laptop, Luks
from stiefel_preflight.report import Found, impossible, know, mend

_CARRIED = ("systemd-fido2", "systemd-pkcs11")
"""Tokens that a person carries in a pocket."""
_TYPED = ("systemd-recovery",)
_HERE = ("systemd-tpm2", "clevis")
"""Tokens that only this laptop has, or its own network."""
TOKENS = _CARRIED + _TYPED + _HERE


def needed(laptop: Laptop) -> list[str]:
    """Return the LUKS devices that a target opens while it starts: below /, and what crypttab cannot do without."""
    named = [crypt.source for crypt in crypttab(laptop.crypttab) if crypt.needed and not crypt.random_key]
    tops = [*laptop.storage.found(laptop.root), *(one for name in named for one in laptop.storage.found(name))]
    stack = laptop.storage.stack(tops)
    return [one.path for one in stack if one.fstype == "crypto_LUKS"]


def luks(laptop: Laptop) -> Iterator[Found]:
    """Judge each of them."""
    for path in needed(laptop):
        if path in laptop.luks:
            yield from judged(path, laptop.luks[path])


def judged(path: str, header: Luks) -> Iterator[Found]:
    """Say what opens a device on a desktop, unless it is plainly a passphrase."""
    typed, carried, here = (slots(header, kinds) for kinds in (_TYPED, _CARRIED, _HERE))
    free = set(header.metadata.get("keyslots", {})) - here - carried - set(header.file_slots)
    add = f"Add a passphrase: cryptsetup luksAddKey {path}"
    if any(segment.get("type", "").startswith("hw-opal") for segment in header.metadata.get("segments", {}).values()):
        yield impossible(
            f"{path} (LUKS) leaves encryption to the disk itself (OPAL), and the commands that unlock it do not go "
            "through a cable. Encrypt it anew, without cryptsetup's --hw-opal."
        )
    elif free:
        if here and not typed:
            yield know(
                f"{path} (LUKS) is opened by this laptop's TPM. On a desktop you are asked for its passphrase. Do you "
                f"remember it? cryptsetup open --test-passphrase {path} tells you."
            )
    elif carried:
        yield know(
            f"{path} (LUKS) is opened by a security token and no passphrase. Bring it along to the desktop. Or: {add}"
        )
    elif header.file_slots:
        yield mend(f"{path} (LUKS) can only be opened by {header.key_file}, a file on this laptop. {add}")
    else:
        yield mend(f"{path} (LUKS) can only be opened by this laptop's TPM or its network, and not on a desktop. {add}")


def slots(header: Luks, kinds: tuple[str, ...]) -> set[str]:
    """Return the key slots that tokens of some kinds claim."""
    tokens = header.metadata.get("tokens", {}).values()
    wanted = (token for token in tokens if token.get("type") in kinds)
    return {str(slot) for token in wanted for slot in token.get("keyslots", [])}
