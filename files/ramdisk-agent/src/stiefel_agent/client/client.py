"""The client, on the desktop: find the laptop, receive its system, start it."""

from __future__ import annotations

import base64
import getpass
import select
import socket
import time
from dataclasses import dataclass
from typing import BinaryIO, NoReturn

from stiefel_agent import config
from stiefel_agent.client.choice import Choice, Turn
from stiefel_agent.errors import BundleError, DiskHeld, HandshakeError, PassphraseError, StiefelError
from stiefel_agent.face import screen, status
from stiefel_agent.face.console import event, say
from stiefel_agent.machine import firmware, kexec, link, netdev, tunnel
from stiefel_agent.protocol import session, sizes
from stiefel_agent.protocol.bundle import Decoder, Manifest, Part
from stiefel_agent.protocol.discovery import Address, Challenged, Datagram, Noticed, Seeker
from stiefel_agent.protocol.handshake import HELLO_SECONDS, ClientHandshake, Granted, Ready, Send
from stiefel_agent.protocol.keys import LockedKey, StickKey, carried
from stiefel_agent.protocol.messages import Busy, Facts, Grant, displayable, machine_of
from stiefel_agent.protocol.probing import ROUND_SECONDS, ROUNDS, Probing

BEACON_SECONDS = 1.0
RETRY_SECONDS = 5.0
PLAIN_SECONDS = 30.0
"""An adapter that was made to take large packets, and hears nobody for so long, is set back: it may hear none so."""
SILENCE_SECONDS = 30.0
"""A server that says nothing for so long, in the midst of a session's beginning, is given up."""
_ADVICE = (
    "Is the cable in at both ends, and is the laptop switched on? It may be in its normal system or in server mode.",
    "Still nothing? The stick must be of this laptop: see docs/troubleshooting.md, or write the stick anew.",
)
_LOCKED = """
  Stiefelsystem

  This stick is locked. What you type is not shown.
  Passphrase: """


@dataclass(frozen=True, slots=True)
class Found:
    """A server that answered: the challenge, and the interface it came in on."""

    challenged: Challenged
    interface: link.Wired


class Steps:
    """The lines on the desktop's screen."""

    def __init__(self) -> None:
        self.search = screen.Step("Find the laptop")
        self.receive = screen.Step("Receive its system")
        self.start = screen.Step("Start it")
        self.all = (self.search, self.receive, self.start)


class Client:
    """One desktop's way from power-on to the target's kernel."""

    def __init__(self, key: StickKey, desktop: str) -> None:
        self._seeker, self._desktop = Seeker(key), desktop
        self._machine = machine_of(key.secret, firmware.identity())
        self._steps = Steps()
        self._screen = screen.Screen(f"desktop {desktop}", self._steps.all)
        self._laptop = ""
        self._choice = Choice()
        self._beaconed = False

    def run(self) -> NoReturn:
        """Try until it works: whatever fails is shown, and tried again."""
        while True:
            try:
                self._start(self._search())
            except (StiefelError, OSError) as error:
                say(str(error))
                step = next((s for s in self._steps.all if s.mark is screen.Mark.NOW), self._steps.search)
                self._screen.fail(step, str(error), f"Trying again in {RETRY_SECONDS:.0f} s.")
                time.sleep(RETRY_SECONDS)  # no event can tell when a refused attempt would succeed

    def _search(self) -> Found:
        """Send beacons on every wired interface until a server answers."""
        self._laptop = ""
        self._choice.begin()
        started = time.monotonic()
        with netdev.LinkEvents() as changes, link.DiscoverySocket(listen=False) as wire:
            due = started
            while True:
                now = time.monotonic()
                interfaces = link.made_reachable(sizes.LARGEST)
                self._show_search(interfaces, now - started)
                if not self._laptop and (vain := self._choice.called_in_vain(now, PLAIN_SECONDS)):
                    link.narrow([one for one in interfaces if one.index in vain])
                # A cable that is found between two beats is called at once.
                self._call(wire, [one for one in interfaces if now >= due or self._choice.is_new(one.index)], now)
                if now >= due:
                    due = now + BEACON_SECONDS
                readable, _, _ = select.select([wire.fileno(), changes.fileno()], [], [], max(0.0, due - now))
                if changes.fileno() in readable:
                    changes.drain()
                while wire.fileno() in readable and (received := wire.receive()):
                    if found := self._hear(wire, *received, interfaces):
                        return found

    def _show_search(self, interfaces: list[link.Wired], seconds: float) -> None:
        if not self._laptop:
            self._screen.start(self._steps.search, status.interfaces(interfaces, "calling"))
            self._screen.advise(*(_ADVICE if seconds > 20 else ()))

    def _call(self, wire: link.DiscoverySocket, interfaces: list[link.Wired], now: float) -> None:
        for interface in interfaces:
            if interface.address is None or not interface.carrier:
                continue
            if not wire.beacon(self._seeker.beacon(interface.index, now), interface):
                continue
            self._choice.called(interface.index, now)
            if not self._beaconed:
                self._beaconed = True
                event("beacon", interface=interface.name, uptime=f"{time.clock_gettime(time.CLOCK_BOOTTIME):.1f}")

    def _hear(
        self, wire: link.DiscoverySocket, data: bytes, source: Address, interfaces: list[link.Wired]
    ) -> Found | None:
        """Take one datagram; return the server if it is one that can be dialled."""
        heard = self._seeker.receive(data, source, time.monotonic())
        if isinstance(heard, Noticed):
            self._screen.start(self._steps.search, status.notice(self._laptop or "the laptop", heard.notice))
        if not isinstance(heard, Challenged):
            return None
        turn = self._choice.turn(heard, time.monotonic())
        if turn is Turn.WAIT:
            return None
        if not self._laptop:
            event("challenged", laptop=heard.challenge.laptop, stage=heard.challenge.stage.name.lower())
            self._screen.advise()
        self._laptop = heard.challenge.laptop
        if turn is Turn.PROVE:
            wire.send(self._seeker.prove(heard, self._desktop))
            return None
        interface = next((one for one in interfaces if one.index == source[3]), None)
        return Found(heard, interface) if interface else None

    def _start(self, found: Found) -> NoReturn:
        """Go through one session's beginning, and into the target."""
        self._screen.finish(self._steps.search, f"{self._laptop} on {found.interface.name}")
        self._screen.start(self._steps.receive)
        packet = self._largest_packet(found)
        private_key = tunnel.new_private_key()
        facts = Facts(self._desktop, tunnel.public_key(private_key), self._machine, packet)
        handshake = ClientHandshake(found.challenged.exchange, facts)
        with (
            _dial(found.challenged, packet) as connection,
            kexec.memory_file("kernel") as kernel,
            kexec.memory_file("initrd") as initrd,
        ):
            try:
                granted = self._shake(connection, handshake)
            except DiskHeld:
                self._choice.busy(found.challenged, time.monotonic())
                raise
            manifest = self._receive(connection, granted, {Part.KERNEL: kernel, Part.INITRD: initrd})
            self._screen.start(self._steps.start, f"{manifest.laptop}, Linux {manifest.kernel_version}")
            attachment = _session(found, granted, private_key, packet)
            kexec.load(
                kexec.System(
                    kernel, initrd, manifest.command_line, {"etc/stiefel/session.json": attachment.to_json().encode()}
                )
            )
            connection.settimeout(SILENCE_SECONDS)
            connection.sendall(handshake.received())
            while not isinstance(handshake.feed(connection.recv(65536)), Ready):
                pass
        self._screen.finish(self._steps.start, "here it comes")
        kexec.execute()

    def _largest_packet(self, found: Found) -> int:
        """Find out, and show, how large a packet gets to the laptop and back; 0: it does not know the question."""
        source = found.challenged.source
        probing = Probing(found.challenged.exchange, source, found.interface.mtu)
        with link.DiscoverySocket(listen=False) as wire:
            for _ in range(ROUNDS):
                for probe in probing.probes():
                    wire.send(Datagram(probe, source))
                deadline = time.monotonic() + ROUND_SECONDS
                while not probing.complete and (left := deadline - time.monotonic()) > 0:
                    select.select([wire.fileno()], [], [], left)
                    while received := wire.receive():
                        probing.receive(*received)
        event("packet_size", bytes=probing.found)
        if not probing.complete and (text := sizes.words(probing.found)):
            say(text)
            self._screen.advise(text)
        return probing.found

    def _shake(self, connection: socket.socket, handshake: ClientHandshake) -> Granted:
        """Prove the key to each other; raises DiskHeld if another desktop has the disk."""
        connection.settimeout(HELLO_SECONDS)
        connection.sendall(handshake.hello())
        while True:
            match handshake.feed(connection.recv(65536)):
                case Send(data):
                    connection.sendall(data)
                case Granted() as granted:
                    return granted
                case Busy() as answer:
                    raise DiskHeld(status.busy(self._laptop, answer))
                case Ready():
                    raise HandshakeError("ready before the bundle")

    def _receive(self, connection: socket.socket, granted: Granted, parts: dict[Part, BinaryIO]) -> Manifest:
        """Write the bundle's parts as they arrive, showing progress; return the manifest of a whole bundle."""
        connection.settimeout(SILENCE_SECONDS)
        decoder = Decoder(granted.secrets.bundle_key)
        started, shown = time.monotonic(), 0.0
        data: bytes | memoryview = granted.rest
        buffer = memoryview(bytearray(1 << 20))
        while not decoder.complete:
            for chunk in decoder.feed(data) if data else ():
                parts[chunk.part].write(chunk.data)
            now = time.monotonic()
            if now - shown >= 0.25:
                shown = now
                self._screen.start(self._steps.receive, screen.progress(decoder.done, decoder.total, now - started))
            if not decoder.complete:
                data = buffer[: connection.recv_into(buffer)]
                if not data:
                    raise BundleError("the laptop closed the connection")
        if decoder.manifest is None:
            raise BundleError("no manifest")
        seconds = time.monotonic() - started
        event("bundle_received", bytes=decoder.done, seconds=f"{seconds:.1f}")
        self._screen.finish(self._steps.receive, screen.progress(decoder.done, decoder.total, seconds))
        return decoder.manifest


def _dial(challenged: Challenged, packet: int) -> socket.socket:
    """Connect to the server over the interface that its challenge came in on, with packets of at most this size."""
    host, _, _, scope = challenged.source
    connection = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    connection.settimeout(HELLO_SECONDS)
    try:
        segment = sizes.segment(packet or sizes.SMALLEST, tunnel=False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, segment)
        connection.connect((host, challenged.challenge.port, 0, scope))
    except BaseException:
        connection.close()
        raise
    return connection


def _session(found: Found, granted: Granted, private_key: str, packet: int) -> session.Session:
    """Return what the target needs to attach, from what the server granted."""
    grant, secrets = granted.grant, granted.secrets
    return session.Session(
        mac=found.interface.mac,
        server=found.challenged.source[0],
        wireguard=_wireguard(grant, secrets.preshared_key, private_key),
        nbd=session.Nbd(grant.nbd_port, grant.export, grant.connections, grant.block_size),
        release=session.Release(grant.release_port, secrets.release_token.hex()),
        over=session.Over(*map(_base64, (granted.question, granted.over))) if granted.question else None,
        packet=packet or sizes.USUAL,
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _wireguard(grant: Grant, preshared_key: bytes, private_key: str) -> session.WireGuard | None:
    if grant.tunnel is None:
        return None
    return session.WireGuard(
        peer_public_key=tunnel.encode(grant.tunnel.public_key),
        port=grant.tunnel.port,
        address=str(grant.tunnel.client_address),
        peer_address=str(grant.tunnel.server_address),
        private_key=private_key,
        preshared_key=tunnel.encode(preshared_key),
    )


def desktop_name() -> str:
    """Return what the firmware calls this machine, for people."""
    return displayable(firmware.model() or "desktop")


def unlock(entry: StickKey | LockedKey) -> StickKey:
    """Return the stick's key, asking for its passphrase if it has one, until it is right."""
    while isinstance(entry, LockedKey):
        event("locked")
        try:
            return entry.unlock(getpass.getpass(_LOCKED))
        except PassphraseError as error:
            print(f"\n  {error}")
    return entry


def main() -> NoReturn:
    """Run the client on the ramdisk's first console."""
    screen.wake_console()
    Client(unlock(carried(config.read_keys())), desktop_name()).run()
