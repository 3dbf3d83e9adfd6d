"""The target's side of a session, in its initrd: link up, tunnel up, the laptop's disk as /dev/nbd0.

It waits for as long as it takes, for a person can plug the cable in; each wait says what for.
"""

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from stiefel_agent.errors import DiskRefused, DiskWithheld, DriverMissing, SessionInvalid, StiefelError
from stiefel_agent.face import letters
from stiefel_agent.face.console import event, say
from stiefel_agent.machine import halting, netdev, tunnel
from stiefel_agent.protocol.session import IN_INITRD, IN_TARGET, LINK, Session, WireGuard, parse
from stiefel_agent.protocol.sizes import words
from stiefel_agent.target import ahead, cable, clock, keeper, nbd
from stiefel_agent.target.cable import Cable, answers, silent

T = TypeVar("T")

DEVICE_INDEX = 0
RETRY_SECONDS = 5
WITHHELD_SECONDS = 60
"""How long a laptop may say that it knows no such session: connections of an earlier try take a while to end."""
RESTART_SECONDS = 60
"""How long the reason can be read before the desktop starts anew."""
KEEPALIVE_SECONDS = 10
"""How often the laptop hears of a silent target: it must know where to send, and that somebody is there."""

SLEEP_CONF = "[Sleep]\nAllowSuspend=no\nAllowHibernation=no\nAllowSuspendThenHibernate=no\nAllowHybridSleep=no\n"
SYSTEM_CONF = "[Manager]\nDefaultTimeoutStartSec=1h\n"
"""What waits for its disk as it starts is not given up after 90 s: a mount would take the boot into emergency mode."""
RUN_SYSTEMD = Path("/run/systemd")
COMMAND_LINE = Path("/proc/cmdline")
HUNG_TASKS = Path("/proc/sys/kernel/hung_task_timeout_secs")
FIRMWARE = Path("/lib/firmware/rtl_nic")
"""What r8152 and r8169, drivers of most USB adapters and many cards, ask for when one appears or is switched on."""
FIRMWARE_IN_MEMORY = Path("/run/stiefel/firmware")
FIRMWARE_PATH = Path("/sys/module/firmware_class/parameters/path")
"""Where the kernel looks before it looks on the disk (driver-api/firmware/fw_search_path.rst)."""


def load_modules(session: Session) -> None:
    """Load what the steps need; the drivers of the network adapter are udev's business.

    Raises:
        DriverMissing: with what modprobe said.
    """
    for module in ["nbd nbds_max=1 max_part=16", *(["wireguard"] if session.wireguard else [])]:
        done = subprocess.run(["modprobe", *module.split()], capture_output=True, text=True, check=False)
        if done.returncode:
            raise DriverMissing(f"modprobe {module}: {done.stderr.strip()}")


def wireguard_configuration(wireguard: WireGuard, server: str) -> str:
    """Return what `wg setconf` reads: one peer, and nothing but its address inside the tunnel."""
    return f"""[Interface]
PrivateKey = {wireguard.private_key}
[Peer]
PublicKey = {wireguard.peer_public_key}
PresharedKey = {wireguard.preshared_key}
Endpoint = [{server}%{LINK}]:{wireguard.port}
AllowedIPs = {wireguard.peer_address}/128
PersistentKeepalive = {KEEPALIVE_SECONDS}
"""


def bring_up_tunnel(session: Session) -> None:
    """Make `stiefeltunnel` over `stiefellink`; with encryption off there is none.

    Raises:
        LinkFailed: with what the kernel said; TunnelFailed: with what wg said.
    """
    if wireguard := session.wireguard:
        configuration = wireguard_configuration(wireguard, session.server)
        tunnel.create(configuration, wireguard.address, wireguard.peer_address)


def reached(session: Session, way: Cable) -> bool:
    """Say whether the laptop answers at the other end of what is plugged in."""
    load_modules(session)  # while the adapter looks for its cable's signal
    if not way.has_carrier():
        return False
    bring_up_tunnel(session)
    return answers(session, cable.ANSWER_SECONDS)


def find_laptop(session: Session, way: Cable) -> None:
    """Try one wired interface after the other until the laptop answers.

    The one that the session came over is the first; but another kernel may give an adapter another MAC, and two may
    have the same.

    Raises:
        LaptopSilent: none of them leads to the laptop.
        LinkFailed, TunnelFailed: an interface or the tunnel refused.
        DriverMissing: no further try will change that.
    """
    netdev.udev_settle()  # its own renaming must be over
    if way.link() and reached(session, way):
        way.fit()
        return
    way.unplug(LINK)
    found = way.light_up()
    signal = any(interface.carrier for interface in found)
    for interface in found:
        if not interface.carrier and interface.mac != session.mac:
            continue
        way.plug_in(interface)
        if reached(session, way):
            way.fit()
            way.leave_dark()
            return
        signal = signal or bool((link := way.link()) and link.carrier)
        way.unplug(interface.name)
    raise silent(found, answered=signal)


def attach_disk(session: Session, way: Cable) -> list[socket.socket]:
    """Make /dev/nbd0 of the laptop's disk, and see that the kernel knows its size and its partitions.

    Returns:
        our own descriptors of the connections that the kernel has now.

    Raises:
        DiskUnreachable, DiskWithheld, DiskRefused: no server yet, or not a disk to boot from.
    """
    wanted = session.nbd
    host = session.server_host
    connections, offered = nbd.dial_all(host, wanted.port, wanted.export or "", way.segment, wanted.connections)
    try:
        nbd.check(offered, wanted.block_size)
        sockets = [connection.fileno() for connection in connections]
        nbd.connect(way.outside, DEVICE_INDEX, offered, wanted.block_size, sockets)
    except BaseException:
        for connection in connections:
            connection.close()
        raise
    # Opening is what makes the kernel read the partition table of a disk whose size has changed.
    with Path(f"/dev/nbd{DEVICE_INDEX}").open("rb"):
        size = 512 * int(Path(f"/sys/block/nbd{DEVICE_INDEX}/size").read_text())
    if size != offered.size:
        raise DiskRefused(f"the kernel sees {size} of {offered.size} bytes")
    return connections


def leave_word(session: Session) -> None:
    """Tell the running target that it is one: a session without secrets, no sleep, patience, no reports of hung tasks.

    Who waits for the laptop is not hung: the keeper says why it waits, in plain words. Nothing here may change what
    others in the initrd do; /run/systemd/system would (sd_booted(3), failure mode F47).
    """
    if HUNG_TASKS.exists():
        HUNG_TASKS.write_text("0")
    IN_TARGET.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    IN_TARGET.touch(mode=0o600)
    IN_TARGET.write_text(session.redacted().to_json())
    for settings, text in (("sleep", SLEEP_CONF), ("system", SYSTEM_CONF)):
        file = RUN_SYSTEMD / f"{settings}.conf.d/99-stiefel.conf"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def keep_firmware() -> None:
    """Keep the adapters' firmware in memory, where the kernel looks first.

    An adapter that is plugged in again would ask the disk for it, which waits for that very adapter, and meanwhile the
    driver holds the lock of all interfaces. Compressed files are not found so: the kernel looks for plain ones first,
    everywhere.
    """
    if not FIRMWARE.is_dir() or FIRMWARE_PATH.read_text().strip():
        return
    kept = FIRMWARE_IN_MEMORY / FIRMWARE.name
    kept.mkdir(parents=True, exist_ok=True)
    for file in FIRMWARE.iterdir():
        (kept / file.name).write_bytes(file.read_bytes())
    FIRMWARE_PATH.write_text(str(FIRMWARE_IN_MEMORY))


def insist(step: Callable[[], T], wait: Callable[[float], object], *, debug: bool) -> T:
    """Repeat a step until it succeeds, and return its result, saying each new reason once; with debug, fail at once.

    wait: waits for so many seconds, or less if something changes that may help.

    Raises:
        DiskRefused, DriverMissing: no further try will change that.
        DiskWithheld: after WITHHELD_SECONDS of it.
    """
    said, refused_since = "", None
    while True:
        try:
            return step()
        except (DiskRefused, DriverMissing):
            raise
        except (StiefelError, OSError) as error:
            refused_since = (refused_since or time.monotonic()) if isinstance(error, DiskWithheld) else None
            if debug or (refused_since and time.monotonic() - refused_since >= WITHHELD_SECONDS):
                raise
            if str(error) != said:
                said = str(error)
                say(f"{said} Trying again every {RETRY_SECONDS} s.")
        wait(RETRY_SECONDS)


def attach(session: Session, *, debug: bool, restarts: bool = True) -> None:
    """Go through the steps of a session; returns when /dev/nbd0 is there and its keeper runs.

    restarts: whether the desktop restarts by itself when the laptop says that the session is over.
    """
    start = time.monotonic()
    if session.wireguard is None:
        say("this session is not encrypted: whoever is on the cable can read and change the disk's data")
    with Cable(session) as way:
        insist(lambda: find_laptop(session, way), way.wait, debug=debug)
        connections = insist(lambda: attach_disk(session, way), way.wait, debug=debug)
        leave_word(session)
        with suppress(OSError):  # no such kernel, or no memory: then it is on the disk
            keep_firmware()
        keeper.start(session, way, DEVICE_INDEX, connections, restarts=restarts)
        if way.packet < session.packet and (text := words(way.packet)):
            say(text)
    seconds = f"{time.monotonic() - start:.1f}"
    event("attached", device=f"/dev/nbd{DEVICE_INDEX}", interface=LINK, packet=way.packet, seconds=seconds)


def read_session() -> Session:
    """Return the session that the client appended to this initrd.

    Raises:
        SessionInvalid: it is missing or damaged.
    """
    try:
        return parse(IN_INITRD.read_bytes())
    except OSError as error:
        raise SessionInvalid(f"{IN_INITRD}: {error.strerror}") from error


def restart(seconds: float) -> None:
    """Start the desktop anew after a while: nothing is mounted yet, so nothing can be lost."""
    say(f"This desktop restarts in {seconds:.0f} s. Start it from the stick again.")
    time.sleep(seconds)
    halting.restart()


def main() -> int:
    """Attach. What cannot succeed is said, and the desktop restarts; with stiefel.debug the first failure is 1."""
    words = COMMAND_LINE.read_text().split()
    debug = "stiefel.debug" in words
    if sys.stderr.isatty():
        letters.enlarge(sys.stderr.fileno())
    clock.follow(words)
    try:
        attach(read_session(), debug=debug, restarts="stiefel.when_lost=wait" not in words)
    except (StiefelError, OSError) as error:
        say(str(error))
        if not debug:
            restart(RESTART_SECONDS)
        return 1
    ahead.start()
    return 0


if __name__ == "__main__":
    sys.exit(main())
