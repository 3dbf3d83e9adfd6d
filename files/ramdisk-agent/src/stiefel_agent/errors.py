"""What can go wrong, in words for the person at the keyboard: an error's docstring is the message that is shown."""


class StiefelError(Exception):
    """Something went wrong in Stiefelsystem. Run with --debug to see where."""

    def __str__(self) -> str:
        """Return the docstring, followed by the details the raiser gave."""
        message = " ".join((self.__doc__ or "").split())
        detail = super().__str__()
        return f"{message} ({detail})" if detail else message


class SessionInvalid(StiefelError):
    """The session file is damaged or was made by another version. Start the desktop from the stick again."""


class LinkFailed(StiefelError):
    """The cable's network interface could not be set up."""


class LaptopSilent(StiefelError):
    """The laptop is not reached. Is the cable in, and is the laptop on?"""


class TunnelFailed(StiefelError):
    """The encrypted tunnel to the laptop could not be set up."""


class DiskUnreachable(StiefelError):
    """The laptop does not hand out its disk yet. Is it still showing that it waits for the desktop?"""


class DiskWithheld(DiskUnreachable):
    """The laptop does not give its disk to this session. Was the session ended there?"""


class DriverMissing(StiefelError):
    """The kernel that the laptop sent has no driver for its disk on a cable."""


class DiskRefused(StiefelError):
    """The laptop's disk cannot be attached as it is offered."""


class ReleaseFailed(StiefelError):
    """The laptop could not be told that its disk is free again. It will ask before it uses the disk."""


class KexecRefused(StiefelError):
    """The kernel refused to load the next system.

    Under Secure Boot it only takes kernels signed by a key that the machine trusts, such as Debian's own.
    """


class NoSuchDisk(StiefelError):
    """The disk is not there. Is it built in, and is its by-id name in `autokexec_disk` right?"""


class DiskInUse(StiefelError):
    """The disk is in use by something else on this machine, so it is not given away."""


class DiskHibernated(StiefelError):
    """The disk holds a hibernated system.

    Running it elsewhere and resuming the old image later would destroy it. Start the laptop, shut it down, try again.
    """


class BadConfiguration(StiefelError):
    """A configuration file of the agent cannot be used. Run `ansible-playbook site.yml --tags autokexec` again."""


class ExportFailed(StiefelError):
    """The laptop's disk could not be offered over the network."""


class SealError(StiefelError):
    """A message was sealed with another key, or it was changed on the way."""


class MessageError(StiefelError):
    """A message does not have the form that this version of the protocol asks for."""


class HandshakeError(StiefelError):
    """Laptop and desktop could not agree on a session: their keys differ, or a message was lost, damaged or
    forged. Start the desktop again; if this stays, write the stick anew with this laptop's key."""


class BundleError(StiefelError):
    """The system that the laptop sends did not arrive whole. Check the cable, then start the desktop again."""


class KeyFileError(StiefelError):
    """The key file cannot be used. Remove it, make it anew (--tags key), then set up laptop and sticks again."""


class OldKeyFile(KeyFileError):
    """The key file was made by an older version of Stiefelsystem.

    `ansible-playbook site.yml --tags key,autokexec` brings it up to date and keeps the keys. Then write the sticks
    anew.
    """


class PassphraseError(StiefelError):
    """This is not the passphrase of the stick. Please try again."""


class DiskHeld(StiefelError):
    """Another desktop is running from this laptop's disk, and there can be only one."""


class NothingToBoot(StiefelError):
    """No kernel of this laptop has a second initrd for the desktop. Run `ansible-playbook site.yml --tags nbd_root`."""


class LoaderRefused(StiefelError):
    """The boot loader cannot start the server (autokexec_method: bootloader)."""


class NotNow(StiefelError):
    """This cannot be done now."""
