"""Run in the attacker's machine, by root: every attack on one victim, one JSON line each. Needs python3-scapy.

Usage: attacks.py < JOB, where JOB is one JSON object with the fields of `Job`. A line says how many packets were sent
and what the attack gained: an answer, a connection, a byte that a stranger must not get. Nothing gained is a repelled
attack. Whether the victims go on with what they were doing is for the others to ask; this one only sees the cable.

The attacker is on the same link as all others (a hub): it sees every frame, and can send any.
"""

from __future__ import annotations

import ctypes
import json
import random
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from scapy.all import (  # type: ignore[import-not-found]
    ARP,
    IP,
    TCP,
    UDP,
    Ether,
    ICMPv6ND_NA,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    Raw,
    fuzz,
)

DISCOVERY, WIREGUARD, NBD, RELEASE = 61570, 61572, 10809, 61571
DATAGRAM, HELLO = 192, 114
"""Sizes of a discovery datagram and of a client's hello (docs/protocol.md)."""
SERVER_IN_TUNNEL, CLIENT_IN_TUNNEL = "fd73:7469:6566:656c::1", "fd73:7469:6566:656c::2"
LISTEN_SECONDS = 3.0
"""How long an answer may take after the last packet, or after the answer before it."""
ANSWERS_SECONDS = 60.0
"""How long answers are waited for, however many come."""
HANDSHAKE_SECONDS = 20.0
"""The server closes a connection that says nothing after 10 s."""
FRAMES_PER_SECOND = 2000
"""More would be lost in an emulated network adapter, and a lost probe proves nothing."""
SCANS = 5
SYN_ACK = 0x12
HANDSHAKE_RESPONSE, COOKIE_REPLY = 2, 3
"""Types of WireGuard's answers (https://www.wireguard.com/protocol/)."""
SO_ATTACH_FILTER, SO_RCVBUFFORCE = 26, 33  # asm-generic/socket.h
SOL_PACKET, PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC = 263, 1, 1  # linux/if_packet.h
ETH_P_ALL, ETHERTYPE_IPV6 = 3, 0x86DD
ICMPV6, TCP_NUMBER, UDP_NUMBER = 58, 6, 17
NEIGHBOUR_DISCOVERY = range(130, 138)
"""ICMPv6 types of multicast listener and neighbour discovery: every IPv6 machine speaks them (RFC 2710, RFC 4861)."""
MLD2_REPORT = 143


@dataclass(frozen=True)
class Job:
    """Whom to attack, and with what."""

    interface: str
    victim: str
    """laptop (its normal system), client, or server (with a session going on)."""
    address: str
    """The victim's link-local address."""
    mac: str
    peer_address: str
    """The other machine of the session, whose packets can be forged."""
    peer_mac: str
    open_ports: list[int]
    """TCP ports that the victim answers at, and may: the scan must find them, or it proves nothing."""
    attacks: list[str]
    """The names of methods of `Attacks`."""
    recording: str = ""
    """A pcap file of what crossed the cable before."""
    forgot: bool = False
    """The victim was restarted since, and may send a challenge to a beacon that it does not remember (threat model,
    "Presence"): that is noted, and no gain.
    """


@dataclass(frozen=True)
class Heard:
    """A frame of the victim that a stranger has no right to."""

    protocol: int
    source_port: int
    target_port: int
    flags: int
    payload: int
    """Bytes after the TCP or UDP header."""
    to_all: bool
    """Sent to a multicast address."""
    to_me: bool

    def __str__(self) -> str:
        name = {TCP_NUMBER: "TCP", UDP_NUMBER: "UDP", ICMPV6: "ICMPv6"}.get(self.protocol, str(self.protocol))
        return f"{name} {self.source_port}>{self.target_port} flags {self.flags:#x} {self.payload} bytes"


class Cable:
    """The attacker's end of the cable: raw frames out, and an ear for the victim."""

    def __init__(self, job: Job) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        self._listen_to(_raw(job.mac))
        self._socket.bind((job.interface, 0))
        _hear_everything(self._socket, job.interface)
        self.mac = Path(f"/sys/class/net/{job.interface}/address").read_text().strip()

    def _listen_to(self, victim: bytes) -> None:
        """Let the kernel pass on what the victim sends, but not its tunnel's data, in which all else would drown.

        A classic BPF program (https://docs.kernel.org/networking/filter.html); jumps are relative.
        """
        load_byte, load_half, load_word, equal, give = 0x30, 0x28, 0x20, 0x15, 0x06
        program = [
            (load_word, 0, 0, 8),
            (equal, 0, 12, int.from_bytes(victim[2:])),
            (load_half, 0, 0, 6),
            (equal, 0, 10, int.from_bytes(victim[:2])),
            (load_half, 0, 0, 12),
            (equal, 0, 7, ETHERTYPE_IPV6),
            (load_byte, 0, 0, 20),
            (equal, 0, 5, UDP_NUMBER),
            (load_half, 0, 0, 54),
            (equal, 0, 3, WIREGUARD),
            (load_byte, 0, 0, 62),
            (equal, 1, 0, HANDSHAKE_RESPONSE),
            (equal, 0, 1, COOKIE_REPLY),
            (give, 0, 0, 65535),
            (give, 0, 0, 0),
        ]
        code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
        self._socket.setsockopt(
            socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", len(program), ctypes.addressof(code))
        )

    def send(self, frames: Iterable[bytes], rate: float = FRAMES_PER_SECOND) -> int:
        """Send at most `rate` frames a second; return how many."""
        self._socket.setblocking(True)
        sent, start = 0, time.monotonic()
        for frame in frames:
            if (ahead := sent / rate - (time.monotonic() - start)) > 0:
                time.sleep(ahead)
            self._socket.send(frame[:1514])
            sent += 1
        return sent

    def forget(self) -> None:
        """Drop what was heard until now."""
        self._socket.setblocking(False)
        try:
            while True:
                self._socket.recv(65536)
        except BlockingIOError:
            return

    def heard(self, seconds: float = LISTEN_SECONDS) -> Iterator[Heard]:
        """Yield what the victim says, apart from neighbour discovery, until it has said nothing to me for so long.

        A busy victim answers for a while after the last packet: who listened no longer would take that for an answer
        to the next attack. A minute is enough for any of them.
        """
        self._socket.settimeout(0.2)
        start = time.monotonic()
        end = start + seconds
        while time.monotonic() < min(end, start + ANSWERS_SECONDS):
            try:
                frame = self._socket.recv(65536)
            except TimeoutError:
                continue
            if heard := _understood(frame, _raw(self.mac)):
                end = time.monotonic() + seconds if heard.to_me else end
                yield heard


def _understood(frame: bytes, own: bytes) -> Heard | None:
    """Return what a frame is, None for neighbour discovery and the like."""
    to_all, to_me = bool(frame[0] & 1), frame[:6] == own
    if struct.unpack_from(">H", frame, 12)[0] != ETHERTYPE_IPV6:
        return Heard(0, 0, 0, 0, len(frame) - 14, to_all, to_me)
    end = 54 + struct.unpack_from(">H", frame, 18)[0]  # short frames are padded
    protocol, offset = frame[20], 54
    if protocol == 0 and len(frame) > offset + 8:  # hop-by-hop options, as in reports of multicast listeners
        protocol, offset = frame[54], offset + 8 + 8 * frame[55]
    if protocol == ICMPV6:
        kind = frame[offset]
        return (
            None if kind in NEIGHBOUR_DISCOVERY or kind == MLD2_REPORT else Heard(ICMPV6, kind, 0, 0, 0, to_all, to_me)
        )
    source, target = struct.unpack_from(">HH", frame, offset)
    if protocol == TCP_NUMBER:
        header = 4 * (frame[offset + 12] >> 4)
        return Heard(TCP_NUMBER, source, target, frame[offset + 13], end - offset - header, to_all, to_me)
    return Heard(protocol, source, target, 0, end - offset - 8, to_all, to_me)


class Attacks:
    """The battery. Each attack returns the number of packets sent, and what it gained."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.cable = Cable(job)
        self.own = _own_address(job.interface)
        self.recording = list(_frames(Path(job.recording))) if job.recording else []
        self._random = random.Random(20)
        self.challenges = 0
        """Those that a victim which forgot has sent."""

    # ---- what a stranger can see of the victim

    def port_scan_tcp(self) -> tuple[int, list[str]]:
        """Knock at every TCP port; those that answer but should not are the gain."""
        probe = bytes(self._to_victim() / TCP(sport=40000, dport=0, flags="S", seq=7, window=1024))
        sent, answered = 0, set[int]()
        # A busy victim's network adapter loses some: what is known to be open tells whether that was too many.
        for _ in range(SCANS):
            sent += self.cable.send(_each_port(probe))
            heard = [one for one in self.cable.heard() if one.protocol == TCP_NUMBER and one.target_port == 40000]
            answered |= {one.source_port for one in heard if one.flags & SYN_ACK == SYN_ACK}
            if not (missed := set(self.job.open_ports) - answered):
                break
        else:
            raise RuntimeError(f"the scan itself does not work: no answer from the open ports {sorted(missed)}")
        wrong = answered - set(self.job.open_ports)
        if self.job.victim == "laptop":  # its normal system's other services are its owner's business
            wrong &= {DISCOVERY, WIREGUARD, NBD, RELEASE}
        return sent, [f"TCP port {port} is open" for port in sorted(wrong)]

    def port_scan_udp(self) -> tuple[int, list[str]]:
        """Send 32 bytes to every UDP port."""
        probe = bytes(self._to_victim() / UDP(sport=40000, dport=0) / Raw(bytes(32)))
        sent = self.cable.send(_each_port(probe))
        return sent, self._gain(lambda one: one.protocol == UDP_NUMBER and one.target_port == 40000)

    # ---- what a stranger asks for

    def connect_to_the_disk(self) -> tuple[int, list[str]]:
        """Connect to NBD and release, at the link's address and at the tunnel's, also as the peer."""
        gained = [f"connected to {port}" for port in (NBD, RELEASE) if self._connect(port) is not None]
        frames = [
            Ether(src=mac, dst=self.job.mac) / IPv6(src=source, dst=target) / TCP(sport=40001, dport=port, flags="S")
            for mac in (self.cable.mac, self.job.peer_mac)
            for source in (self.own, self.job.peer_address, CLIENT_IN_TUNNEL)
            for target in (self.job.address, SERVER_IN_TUNNEL)
            for port in (NBD, RELEASE)
        ]
        sent = self.cable.send(map(bytes, frames))
        return sent + 2, gained + self._gain(lambda one: one.target_port == 40001 and one.flags & SYN_ACK == SYN_ACK)

    def beacons_without_a_key(self) -> tuple[int, list[str]]:
        """Send datagrams that look like beacons and proofs."""
        frames = [self._datagram(b"\1" + self._random.randbytes(DATAGRAM - 1)) for _ in range(200)]
        return self.cable.send(frames, 50), self._gain(_answered)

    def handshakes_without_a_key(self) -> tuple[int, list[str]]:
        """Dial the handshake's port and say hello in many wrong ways; any byte of an answer is a gain."""
        hellos = [
            b"\1" + self._random.randbytes(HELLO - 1),
            self._random.randbytes(HELLO),
            bytes(HELLO),
            b"\1" + self._random.randbytes(HELLO - 2),
            b"\1" + self._random.randbytes(1 << 20),
            b"NBDMAGICIHAVEOPT",
            b"GET / HTTP/1.1\r\n\r\n",
            b"",
            *self._recorded_hellos(),
        ]
        gained = [f"{len(said)} bytes in answer to {hello[:8].hex()}" for hello in hellos if (said := self._say(hello))]
        return len(hellos), gained

    def connections_kept_open(self) -> tuple[int, list[str]]:
        """Open many connections and say nothing: the next one must still be accepted where there is a listener."""
        held = [connection for _ in range(64) if (connection := self._connect(DISCOVERY)) is not None]
        listens = DISCOVERY in self.job.open_ports
        last = self._connect(DISCOVERY)
        for connection in [*held, *([last] if last else [])]:
            connection.close()
        return 65, ["the listener takes no more connections"] if listens and last is None else []

    # ---- what was said before, said again

    def replay(self) -> tuple[int, list[str]]:
        """Send the whole recording again, packet by packet, in order."""
        return self.cable.send(self.recording), self._gain(self._new_answer)

    def replay_shuffled(self) -> tuple[int, list[str]]:
        """Send the whole recording in another order."""
        shuffled = self._random.sample(self.recording, len(self.recording))
        return self.cable.send(shuffled), self._gain(self._new_answer)

    def replay_as_myself(self) -> tuple[int, list[str]]:
        """Send the recorded datagrams from the attacker's own address, where the answers would go."""
        frames = [self._datagram(payload) for payload in self._recorded_datagrams()]
        return self.cable.send(frames, 50), self._gain(self._new_answer)

    def reflection(self) -> tuple[int, list[str]]:
        """Send the victim its own datagrams, from the attacker and from the peer."""
        authors: dict[bytes, bytes] = {}  # what an attacker has sent under a wrong name, somebody else had said before
        for frame in self._recorded_discovery():
            authors.setdefault(frame[62:], frame[6:12])
        own = [payload for payload, author in authors.items() if author == _raw(self.job.mac)]
        own = own or self._overheard()
        frames = [make(payload) for payload in own for make in (self._datagram, self._datagram_of_peer)]
        return self.cable.send(frames, 50), self._gain(_answered)

    # ---- what nobody would say

    def malformed(self) -> tuple[int, list[str]]:
        """Wrong sizes, wrong headers, fragments, other protocols, forged addresses."""
        return self.cable.send(self._malformed()), self._gain(_answered)

    def wireguard(self) -> tuple[int, list[str]]:
        """Messages of every WireGuard type with random contents, as myself and as the peer."""
        sizes = {1: 148, 2: 92, 3: 64, 4: 1400}
        frames = []
        for kind, size in sizes.items():
            for _ in range(25):
                payload = bytes([kind, 0, 0, 0]) + self._random.randbytes(size - 4)
                frames.append(bytes(self._to_victim() / UDP(sport=WIREGUARD, dport=WIREGUARD) / Raw(payload)))
                frames.append(bytes(self._as_peer() / UDP(sport=WIREGUARD, dport=WIREGUARD) / Raw(payload)))
        # The session's own traffic goes on meanwhile: only what comes here is an answer.
        return self.cable.send(frames), self._gain(lambda one: one.source_port == WIREGUARD and one.to_me)

    def flood(self) -> tuple[int, list[str]]:
        """As many datagrams and connection requests as the attacker's machine can make, from made-up addresses."""
        # Half of a forged address is the other half's complement: so the checksum stays right (RFC 1071, section 1).
        start = Ether(src=self.cable.mac, dst=self.job.mac) / IPv6(src="fe80::1:2:fffe:fffd", dst=self.job.address)
        datagram = bytearray(bytes(start / UDP(sport=DISCOVERY, dport=DISCOVERY) / Raw(bytes(DATAGRAM))))
        knock = bytearray(bytes(start / TCP(sport=40002, dport=DISCOVERY, flags="S")))

        def frames() -> Iterator[bytes]:
            for number in range(20000):
                frame = datagram if number % 8 else knock
                forged = self._random.randbytes(4)
                frame[8:12] = frame[30:34] = forged
                frame[34:38] = bytes(0xFF - byte for byte in forged)
                yield bytes(frame)

        return self.cable.send(frames(), float("inf")), self._gain(_answered)

    def silencing(self) -> tuple[int, list[str]]:
        """Whatever was sent before: has it silenced the client?"""
        return 0, [] if self._overheard() else ["the client has stopped calling"]

    # ---- tools

    def _ip(self, target: str) -> IPv6:
        return IPv6(src=self.own, dst=target, hlim=64)

    def _to_victim(self) -> Ether:
        return Ether(src=self.cable.mac, dst=self.job.mac) / self._ip(self.job.address)

    def _as_peer(self) -> Ether:
        return Ether(src=self.job.peer_mac, dst=self.job.mac) / IPv6(src=self.job.peer_address, dst=self.job.address)

    def _datagram(self, payload: bytes) -> bytes:
        return bytes(self._to_victim() / UDP(sport=DISCOVERY, dport=DISCOVERY) / Raw(payload))

    def _datagram_of_peer(self, payload: bytes) -> bytes:
        return bytes(self._as_peer() / UDP(sport=DISCOVERY, dport=DISCOVERY) / Raw(payload))

    def _gain(self, matters: Callable[[Heard], bool]) -> list[str]:
        return sorted({str(one) for one in self.cable.heard() if matters(one)})

    def _new_answer(self, one: Heard) -> bool:
        """Say whether this is more than a challenge from a victim that forgot."""
        challenge = one.protocol == UDP_NUMBER and one.payload == DATAGRAM and not one.to_all
        if self.job.forgot and _answered(one) and challenge:
            self.challenges += 1
            return False
        return _answered(one)

    def _connect(self, port: int) -> socket.socket | None:
        connection = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        connection.settimeout(LISTEN_SECONDS)
        try:
            connection.connect((self.job.address, port, 0, socket.if_nametoindex(self.job.interface)))
        except OSError:
            connection.close()
            return None
        return connection

    def _say(self, hello: bytes) -> bytes:
        """Dial, say hello, and return all that is said in answer until the other side closes."""
        connection = self._connect(DISCOVERY)
        if connection is None:
            return b""
        with connection:
            connection.settimeout(HANDSHAKE_SECONDS)
            try:
                connection.sendall(hello)
                return connection.recv(65536)
            except OSError:
                return b""

    def _overheard(self) -> list[bytes]:
        """Return some datagrams that the victim is sending just now: a client's beacons."""
        ear = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        with ear:
            ear.bind((self.job.interface, 0))
            _hear_everything(ear, self.job.interface)
            ear.settimeout(0.5)
            found: list[bytes] = []
            end = time.monotonic() + 5 * LISTEN_SECONDS
            while len(found) < 3 and time.monotonic() < end:
                try:
                    frame = ear.recv(65536)
                except TimeoutError:
                    continue
                if frame[6:12] == _raw(self.job.mac) and _is_discovery(frame):
                    found.append(frame[62:])
            return found

    def _recorded_discovery(self) -> list[bytes]:
        return [frame for frame in self.recording if _is_discovery(frame)]

    def _recorded_datagrams(self) -> list[bytes]:
        return [frame[62:] for frame in self._recorded_discovery()] or self._overheard()

    def _recorded_hellos(self) -> list[bytes]:
        """Return what clients said first to the handshake's port."""
        to_port = struct.pack(">H", DISCOVERY)
        tcp = [
            frame for frame in self.recording if len(frame) > 74 and frame[20] == TCP_NUMBER and frame[56:58] == to_port
        ]
        payloads = [frame[54 + 4 * (frame[66] >> 4) :] for frame in tcp]
        return [payload for payload in payloads if len(payload) == HELLO][:4]

    def _malformed(self) -> Iterator[bytes]:
        noise = self._random.randbytes
        for size in (0, 1, 16, 191, 193, 512, 1400):
            yield self._datagram(b"\1" + noise(size) if size else b"")
        for version in (0, 2, 255):
            yield self._datagram(bytes([version]) + noise(DATAGRAM - 1))
        whole = UDP(sport=DISCOVERY, dport=DISCOVERY) / Raw(noise(DATAGRAM))
        for extension in (IPv6ExtHdrHopByHop(), IPv6ExtHdrDestOpt(), IPv6ExtHdrRouting(addresses=[self.own])):
            yield bytes(self._to_victim() / extension / whole)
        for length in (0, 7, 9, 65535):
            yield bytes(self._to_victim() / UDP(sport=DISCOVERY, dport=DISCOVERY, len=length) / Raw(noise(DATAGRAM)))
        yield bytes(self._to_victim() / UDP(sport=DISCOVERY, dport=DISCOVERY, chksum=0) / Raw(noise(DATAGRAM)))
        for offset, more in ((0, 1), (3, 1), (1, 0), (8191, 0)):
            yield bytes(
                self._to_victim() / IPv6ExtHdrFragment(offset=offset, m=more, id=5, nh=UDP_NUMBER) / Raw(noise(64))
            )
        for source in ("::", "::1", self.job.address, "2001:db8::1", CLIENT_IN_TUNNEL):
            yield bytes(Ether(src=self.cable.mac, dst=self.job.mac) / IPv6(src=source, dst=self.job.address) / whole)
        yield bytes(Ether(src=self.cable.mac, dst=self.job.mac) / IP(src="192.0.2.1", dst="192.0.2.2") / whole)
        yield bytes(Ether(src=self.cable.mac, dst="ff:ff:ff:ff:ff:ff") / ARP(pdst="192.0.2.2"))
        for flags in ("", "F", "SF", "FPU", "SRAFPU", "A", "R"):
            yield bytes(self._to_victim() / TCP(sport=40003, dport=DISCOVERY, flags=flags) / Raw(noise(32)))
        for _ in range(100):
            yield bytes(self._to_victim() / fuzz(UDP(sport=DISCOVERY, dport=DISCOVERY)) / Raw(noise(DATAGRAM)))[:1514]
            yield bytes(self._to_victim() / fuzz(TCP(dport=DISCOVERY)) / Raw(noise(DATAGRAM)))[:1514]
        # Where the peer lives: an advertisement that may have crossed a router does not count (RFC 4861, 7.1.2).
        moved = ICMPv6ND_NA(tgt=self.job.peer_address, R=0, S=1, O=1)
        yield bytes(Ether(dst=self.job.mac) / IPv6(src=self.job.peer_address, dst=self.job.address, hlim=64) / moved)


def _hear_everything(ear: socket.socket, interface: str) -> None:
    """Let a packet socket see what goes from others to others, too (packet(7), PACKET_MR_PROMISC)."""
    membership = struct.pack("iHH8s", socket.if_nametoindex(interface), PACKET_MR_PROMISC, 0, b"")
    ear.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, membership)


def _raw(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _is_discovery(frame: bytes) -> bool:
    """Say whether a frame carries one datagram of discovery."""
    return len(frame) == 62 + DATAGRAM and frame[20] == UDP_NUMBER and frame[56:58] == struct.pack(">H", DISCOVERY)


def _answered(one: Heard) -> bool:
    """Say whether discovery or handshake said something to one receiver; a client's own beacons are for all."""
    discovery = one.protocol == UDP_NUMBER and one.source_port == DISCOVERY and not one.to_all
    handshake = one.protocol == TCP_NUMBER and DISCOVERY in (one.source_port, one.target_port) and one.payload > 0
    return discovery or handshake


def _each_port(probe: bytes) -> Iterator[bytes]:
    """Yield the frame for each target port; the checksum moves with the port (RFC 1624)."""
    offset = {TCP_NUMBER: 70, UDP_NUMBER: 60}[probe[20]]
    checksum = struct.unpack_from(">H", probe, offset)[0]
    frame = bytearray(probe)
    for port in range(1, 65536):
        total = (~checksum & 0xFFFF) + port
        total = (total & 0xFFFF) + (total >> 16)
        struct.pack_into(">H", frame, 56, port)
        struct.pack_into(">H", frame, offset, ~total & 0xFFFF)
        yield bytes(frame)


def _frames(pcap: Path) -> Iterator[bytes]:
    """Yield the frames of a pcap file."""
    with pcap.open("rb") as file:
        file.read(24)
        while len(header := file.read(16)) == 16:
            yield file.read(struct.unpack("<4I", header)[2])


def _own_address(interface: str) -> str:
    """Bring the interface up, out of NetworkManager's hands, and return its link-local address."""
    subprocess.run(["nmcli", "device", "set", interface, "managed", "no"], check=False, capture_output=True)
    Path(f"/proc/sys/net/ipv6/conf/{interface}/accept_dad").write_text("0")
    subprocess.run(["ip", "link", "set", "dev", interface, "addrgenmode", "eui64", "up"], check=True)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        shown = subprocess.run(
            ["ip", "-j", "-6", "address", "show", "dev", interface, "scope", "link"], check=True, capture_output=True
        )
        addresses = [one["local"] for link in json.loads(shown.stdout) for one in link.get("addr_info", [])]
        if addresses:
            return str(addresses[0])
        time.sleep(0.2)  # the kernel gives it once the interface has a carrier
    raise RuntimeError(f"{interface} has no link-local address")


def main() -> None:
    """Do one job's attacks, one after the other."""
    job = Job(**json.load(sys.stdin))
    attacks = Attacks(job)
    for name in job.attacks:
        start = time.monotonic()
        attacks.cable.forget()
        attacks.challenges = 0
        sent, gained = getattr(attacks, name)()
        seconds = round(time.monotonic() - start, 1)
        line = {"victim": job.victim, "attack": name, "sent": sent, "gained": gained, "seconds": seconds}
        line |= {"challenges": attacks.challenges}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
