"""The target's side of a session, in its initrd: link up, tunnel up, the laptop's disk as /dev/nbd0.

It waits for as long as it takes, for a person can plug the cable in; each wait says what for.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from stiefel_agent.errors import DiskRefused, LinkFailed, SessionInvalid, StiefelError
from stiefel_agent.face.console import event, say
from stiefel_agent.machine import netdev, tunnel
from stiefel_agent.protocol.session import IN_INITRD, IN_TARGET, LINK, Session, WireGuard, parse
from stiefel_agent.target import nbd

DEVICE_INDEX = 0
REMIND_SECONDS = 10
RETRY_SECONDS = 5
KEEPALIVE_SECONDS = 10
"""How often the laptop hears of a silent target: it must know where to send, and that somebody is there."""

SLEEP_CONF = "[Sleep]\nAllowSuspend=no\nAllowHibernation=no\nAllowSuspendThenHibernate=no\nAllowHybridSleep=no\n"
RUN_SYSTEMD = Path("/run/systemd")


def load_modules(session: Session) -> None:
    """Load what the steps need; the drivers of the network adapter are udev's business.

    Raises:
        LinkFailed: with what modprobe said.
    """
    for module in ["nbd nbds_max=1 max_part=16", *(["wireguard"] if session.wireguard else [])]:
        done = subprocess.run(["modprobe", *module.split()], capture_output=True, text=True, check=False)
        if done.returncode:
            raise LinkFailed(f"modprobe {module}: {done.stderr.strip()}")


def bring_up_link(session: Session) -> None:
    """Find the desktop's interface by its MAC, make it `stiefellink`, wait for the cable and for its address.

    Raises:
        LinkFailed: the interface refused.
    """
    with netdev.LinkEvents() as events:
        events.wait_for(
            lambda: netdev.find_by_mac(session.mac),
            lambda: say(f"no network interface {session.mac} yet: is the adapter plugged in?"),
            REMIND_SECONDS,
        )
        netdev.udev_settle()
        found = netdev.find_by_mac(session.mac)
        if found is None:
            raise LinkFailed(f"the interface {session.mac} has vanished again")
        netdev.prepare_link(found, LINK)
        events.wait_for(
            lambda: netdev.has_carrier(LINK) or None,
            lambda: say(f"no carrier on {LINK}: is the cable in?"),
            REMIND_SECONDS,
        )
        events.wait_for(
            lambda: netdev.link_local_address(LINK),
            lambda: say(f"{LINK} has no link-local address yet: is IPv6 switched off?"),
            REMIND_SECONDS,
        )


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
    """Make `stiefeltunnel`; with encryption off there is none.

    Raises:
        LinkFailed: with what ip said; TunnelFailed: with what wg said.
    """
    wireguard = session.wireguard
    if wireguard is None:
        say("this session is not encrypted: whoever is on the cable can read and change the disk's data")
        return
    configuration = wireguard_configuration(wireguard, session.server)
    tunnel.create(configuration, wireguard.address, wireguard.peer_address)


def attach_disk(session: Session) -> None:
    """Make /dev/nbd0 of the laptop's disk, and see that the kernel knows its size and its partitions.

    Raises:
        DiskUnreachable, DiskRefused: no server yet, or not a disk to boot from.
    """
    wanted = session.nbd
    host = session.server_host
    connections, offered = nbd.dial_all(host, wanted.port, wanted.export, wanted.connections)
    try:
        nbd.check(offered, wanted.block_size)
        sockets = [connection.fileno() for connection in connections]
        nbd.connect(DEVICE_INDEX, offered, wanted.block_size, sockets, wanted.export)
    finally:
        for connection in connections:
            connection.close()
    # Opening is what makes the kernel read the partition table of a disk whose size has changed.
    with Path(f"/dev/nbd{DEVICE_INDEX}").open("rb"):
        size = 512 * int(Path(f"/sys/block/nbd{DEVICE_INDEX}/size").read_text())
    if size != offered.size:
        raise DiskRefused(f"the kernel sees {size} of {offered.size} bytes")


def leave_word(session: Session) -> None:
    """Tell the running target that it is one: a session without keys, no sleep.

    Nothing here may change what others in the initrd do; /run/systemd/system would (sd_booted(3), failure mode F47).
    """
    IN_TARGET.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    IN_TARGET.touch(mode=0o600)
    IN_TARGET.write_text(session.redacted().to_json())
    sleep_conf = RUN_SYSTEMD / "sleep.conf.d/99-stiefel.conf"
    sleep_conf.parent.mkdir(parents=True, exist_ok=True)
    sleep_conf.write_text(SLEEP_CONF)


def insist(step: Callable[[], None], *, debug: bool) -> None:
    """Repeat a step until it succeeds, saying each new reason once; with debug, fail at the first."""
    said = ""
    while True:
        try:
            return step()
        except (StiefelError, OSError) as error:
            if debug:
                raise
            if str(error) != said:
                said = str(error)
                say(f"{said} Trying again every {RETRY_SECONDS} s.")
        with netdev.LinkEvents() as events:
            events.wait(RETRY_SECONDS)  # sooner if something about the cable changes


def attach(session: Session, *, debug: bool) -> None:
    """Go through the steps of a session; returns when /dev/nbd0 is there."""
    start = time.monotonic()
    for step in (
        lambda: load_modules(session),
        lambda: bring_up_link(session),
        lambda: bring_up_tunnel(session),
        lambda: attach_disk(session),
    ):
        insist(step, debug=debug)
    leave_word(session)
    seconds = f"{time.monotonic() - start:.1f}"
    event("attached", device=f"/dev/nbd{DEVICE_INDEX}", interface=LINK, seconds=seconds)


def read_session() -> Session:
    """Return the session that the client appended to this initrd.

    Raises:
        SessionInvalid: it is missing or damaged.
    """
    try:
        return parse(IN_INITRD.read_bytes())
    except OSError as error:
        raise SessionInvalid(f"{IN_INITRD}: {error.strerror}") from error


def main() -> int:
    """Attach; 1 and a message when this cannot succeed, or with stiefel.debug when it did not at once."""
    try:
        attach(read_session(), debug="stiefel.debug" in Path("/proc/cmdline").read_text().split())
    except (StiefelError, OSError) as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
