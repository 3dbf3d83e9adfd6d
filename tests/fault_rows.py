"""What goes wrong with a system whose root is on another machine, and what the person in front of it sees here.

Collected from the trackers and sources of the projects that came before, and from our own virtual machines. Tests name
the row that they show: `@pytest.mark.fault("F9")`. fault_table.py makes docs/faults.md of both.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """A row: F and a number for ever, the fault, and in a sentence what a person sees of it."""

    row: str
    what: str
    sees: str
    refused: bool = False
    """Whether we say no before it can happen, rather than live through it."""
    not_shown: str = ""
    """Why no test shows it, or which run by name does."""


FAULTS = (
    Fault(
        "F1",
        "The program that holds the disk's connection is killed when the system starts",
        "Nothing: the kernel itself has the connections, and systemd spares the keeper that mends them.",
    ),
    Fault(
        "F2",
        "nbd-client's own reconnecting does nothing",
        "Nothing: it is not used. The keeper dials anew and hands the connections to the kernel.",
    ),
    Fault(
        "F3",
        "`nbd-client -persist` stays in the foreground, and the start goes no further",
        "Nothing: the connection is made by a message to the kernel, and no program is waited for.",
    ),
    Fault(
        "F4",
        "A dead connection is an I/O error at once, and the filesystem gives up",
        "The work stands still, the screen says why, and it goes on when the cable is back.",
    ),
    Fault(
        "F5",
        "A request takes longer than its time-out, and fails",
        "The work stands still for as long as it takes; a time-out only moves a request to a new connection.",
    ),
    Fault(
        "F6",
        "A new connection is handed over while the old one lives: it is dropped, or everything hangs",
        "Nothing: only connections that the kernel has announced dead are replaced.",
    ),
    Fault(
        "F9",
        "A USB adapter hangs, or vanishes and comes back",
        "The work stands still until any wired adapter reaches the other machine again, and goes on.",
    ),
    Fault(
        "F10",
        "The connection is killed at shutdown before the root is read-only",
        "The desktop switches off, and what was written is on the laptop.",
    ),
    Fault(
        "F11",
        "The network is taken down at shutdown before the root is unmounted",
        "The desktop switches off: nobody but the keeper can take the cable down.",
    ),
    Fault(
        "F12",
        "The desktop is shut down while the laptop is out of reach",
        "It waits half a minute for the cable, says that the laptop was not reached, and switches off.",
    ),
    Fault(
        "F13",
        "The laptop loses power: what was flushed never reached its disk",
        "What a program has flushed is there: flushes and FUA go down to the laptop's disk.",
    ),
    Fault(
        "F14",
        "Two machines write to one disk",
        "The second desktop says who has the laptop, and since when.",
        refused=True,
    ),
    Fault(
        "F15",
        "A hibernated system wakes up after its disk was changed",
        "The preflight names the partition that holds a hibernated system; a target neither sleeps nor hibernates.",
        refused=True,
    ),
    Fault("F16", "`resume=` on the command line holds the start up for 90 s", "Nothing: a target does not get it."),
    Fault("F17", "The desktop is suspended, and has no disk when it wakes", "Suspend is not offered.", refused=True),
    Fault(
        "F18",
        "Sectors of another size than the disk's: its partitions end behind its end",
        "Nothing: a target's disk has the sectors that the laptop's has.",
    ),
    Fault("F19", "The partitions of the network disk are not looked for", "Nothing: root is found by its UUID."),
    Fault("F20", "LVM does not activate what has another name now", "Nothing: the volumes are there."),
    Fault(
        "F21",
        "An encrypted disk can be opened by the laptop's TPM only",
        "The preflight says so, with the command that adds a passphrase.",
        refused=True,
    ),
    Fault("F22", "The laptop's initramfs lacks the desktop's drivers", "Nothing: a second one, with all, starts it."),
    Fault("F23", "Memory is swapped out to the network disk, and the machine deadlocks", "A target has no swap."),
    Fault(
        "F24",
        "kexec loads the next kernel, and it never starts",
        "The laptop's screen stays as it is: switch it off and on, and set `autokexec_method: bootloader` for it.",
    ),
    Fault(
        "F25",
        "The old kexec call is refused under Secure Boot",
        "Nothing: only the call that checks signatures is used. A kernel without one is named by the preflight.",
    ),
    Fault("F26", "NetworkManager takes the cable, or its address", "Nothing: it does not see the cable."),
    Fault(
        "F27",
        "fstab or crypttab have a name that the disk has on the laptop only",
        "The preflight shows the line, and the name to write instead.",
        refused=True,
    ),
    Fault(
        "F28",
        "The laptop's kernel was upgraded, and the desktop gets the old one",
        "Nothing: the desktop gets the kernel that the laptop would boot next.",
    ),
    Fault(
        "F29",
        "Somebody else on the wire: scans, replays, guesses, asks for the system or the disk",
        "Nothing: who does not have the key gets no answer.",
    ),
    Fault("F30", "The target's own service gives its disk on to the next desktop", "Nothing: it does not run there."),
    Fault(
        "F31",
        "A firewall, VPN or container service in the target cuts the root off",
        "Nothing: the cable is in a network namespace of its own.",
    ),
    Fault(
        "F32",
        "The adapter has another MAC address under the next kernel",
        "Nothing: the cable is where the laptop answers.",
    ),
    Fault(
        "F33",
        "The desktop's screen is black until its graphics driver is loaded",
        "The firmware's picture stays, with every message and question.",
    ),
    Fault(
        "F34",
        "An adapter that is plugged in again has another name, and NetworkManager takes it",
        "The work stands still for some seconds, and goes on.",
    ),
    Fault(
        "F35",
        "TCP lets the disk wait for minutes after the cable is back",
        "The work goes on within seconds, however long the cable was out.",
    ),
    Fault(
        "F36",
        "The laptop loses power in a session, and what it had not flushed is gone",
        "The desktop says that the session is over as soon as the laptop runs again, and restarts after a minute.",
    ),
    Fault(
        "F37",
        "A desktop is gone, and the laptop does not notice, for it still sends",
        "The laptop's page says for how long it has heard nothing.",
    ),
    Fault(
        "F38",
        "A kernel upgrade in the target makes the laptop's initramfs for the desktop's hardware",
        "The laptop boots.",
    ),
    Fault(
        "F39",
        "A boot loader's or firmware's upgrade in the target changes the desktop",
        "The upgrade goes through, and the desktop is what it was.",
    ),
    Fault(
        "F40",
        "The desktop's own disk has a volume group, UUID, array or swap that is taken for the laptop's",
        "Nothing: the desktop's own disks are not there in a target.",
    ),
    Fault(
        "F41",
        "An adapter hangs: it has a carrier, and nothing comes through",
        "The work stands still for some 50 s: the adapter is taken down and up, then begins anew as if plugged in.",
    ),
    Fault(
        "F42",
        "A link swallows packets of some sizes, or an adapter loses the segments that it is to cut into packets",
        "It goes on with smaller packets, after a change of cables, too; the adapter is spared. Screens say so.",
    ),
    Fault(
        "F43",
        "The passphrase's prompt waits for a TPM or a token, or is hidden by a splash",
        "The passphrase is asked for at once, and again when it was wrong.",
    ),
    Fault(
        "F44",
        "The desktop's clock is in local time",
        "Nothing: the target has the laptop's time.",
    ),
    Fault(
        "F45",
        "A network profile is bound to the laptop's adapter",
        "The preflight names the profiles: the target has no network by them.",
        refused=True,
    ),
    Fault(
        "F46",
        "Firmware that trusts only newer certificates refuses an old stick",
        "The firmware's own message; a stick that is made anew starts.",
        not_shown="cannot be: no firmware that the lab has trusts the 2023 certificates alone",
    ),
    Fault(
        "F47",
        "What the attach hook leaves behind makes others in the initrd believe that systemd runs",
        "Nothing: LVM and the rest do what they do at home.",
    ),
    Fault(
        "F48",
        "Waiting for cable, laptop or passphrase is charged to the search for root",
        "However long it takes: the search begins when the disk is there.",
    ),
)
"""F7 and F8 were never given out."""
