"""The siege: a third machine attacks laptop, client and server, and a session goes on all the while.

What the attacker does is in attacks.py, which runs in its machine; here is when, and whether anybody took harm.
"""

from __future__ import annotations

import argparse
import base64
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ..machines.bench import ATTACKER, DESKTOP, DESKTOP2, LAPTOP, LOGIN_SECONDS, Bench, link_local, mac, raw_mac
from ..machines.cache import cache_dir, fingerprint, locked
from ..machines.capture import FILE_HEADER, Needles, derived, frames, record, search
from ..machines.machine import Machine
from ..machines.shell import say, step
from .command import OUTPUT, STICK, Argument, Command, bench_of, output
from .guest import program
from .guest.io_loop import block
from .load import Load
from .result import Result
from .watch import BEACON, LAPTOP_LOGIN, LOAD, MOVE, RELEASED, Watch

PACKAGES = ("python3-scapy",)
SEED = "marked plaintext"
RECORDING_START, RECORDING_END = 80_000, 20_000
"""Packets: a bundle of 54 MB takes fifty thousand."""
CONTROL, SAID_IN_CLEAR = "what the attacker itself said in clear", b"GET / HTTP/1.1\r\n\r\n"
"""One of the wrong hellos in attacks.py: a search that does not find it would find nothing."""
KERNEL_EDGE = 1 << 20
"""Bytes at both ends that are plain code, of which other programs have runs."""
RSS_GROWTH_KIB = 4096
"""More than Python's own housekeeping; a leak of a byte per datagram of the flood and the replay would be seen."""

FIRST_LOOK = (
    "port_scan_tcp",
    "port_scan_udp",
    "connect_to_the_disk",
    "beacons_without_a_key",
    "handshakes_without_a_key",
    "connections_kept_open",
    "malformed",
    "wireguard",
    "flood",
)
ECHOES = ("replay_as_myself", "reflection")
REPLAYS = ("replay", "replay_shuffled")


def prepared_attacker(bench: Bench) -> Path:
    """The attacker's disk: the laptop's base image with the attacker's tools, made once."""
    kept = cache_dir() / f"attacker-{fingerprint([bench.image.host_key])}-{'-'.join(PACKAGES)}.qcow2"
    with locked("attacker"):
        if not kept.exists():
            with step("installing the attacker's tools (once)"):
                attacker = bench.start_attacker()
                attacker.wait_ssh(seconds=LOGIN_SECONDS)
                attacker.install(*PACKAGES)
                attacker.press_power()
                attacker.wait_off(seconds=LOGIN_SECONDS, why="its tools are installed")
                bench.keep_disk(kept, ATTACKER)
    return kept


class Siege:
    """One run on a bench (with a hub) whose laptop is up and set up."""

    def __init__(self, watch: Watch, stick: Path, result: Result) -> None:
        self.watch, self.stick, self.result = watch, stick, result
        self.bench = watch.bench
        self.laptop, self.attacker = watch.laptop, watch.bench.machine(ATTACKER)
        self._interface = ""

    def prepare(self) -> None:
        """Switch the attacker on and give it what it needs."""
        if self.attacker.pid is None:
            self.bench.start_attacker(backing=prepared_attacker(self.bench))
        with step("attacker: until one can log in"):
            self.attacker.wait_ssh(seconds=LOGIN_SECONDS)
        self.attacker.put(program("attacks").read_bytes(), "attacks.py")
        found = self.attacker.ssh(f"grep -l {mac(ATTACKER)} /sys/class/net/*/address")
        self._interface = found.split("/")[4]
        self.laptop.wait_ssh(seconds=LOGIN_SECONDS)

    def attack(
        self,
        victim: str,
        machine: str,
        open_ports: Sequence[int],
        attacks: Sequence[str],
        recording: str = "",
        *,
        forgot: bool = False,
    ) -> None:
        """Run attacks on a victim: laptop, client or server."""
        peer = DESKTOP if machine == LAPTOP else LAPTOP
        job = {
            "interface": self._interface,
            "victim": victim,
            "address": link_local(machine),
            "mac": mac(machine),
            "peer_address": link_local(peer),
            "peer_mac": mac(peer),
            "open_ports": list(open_ports),
            "attacks": list(attacks),
            "recording": recording,
            "forgot": forgot,
        }
        for line in self.attacker.ssh_lines("sudo python3 attacks.py", script=json.dumps(job)):
            done = json.loads(line)
            self.result.attacks.append(done)
            gained = ", ".join(done["gained"][:3]) or "nothing gained"
            gained += f" ({done['challenges']} challenges)" if done["challenges"] else ""
            say(f"attack on the {victim}: {done['attack']}: {done['sent']} sent in {done['seconds']} s, {gained}")

    def record(self) -> str:
        """Hand the attacker what laptop and desktop have said to each other; returns the file's name there.

        It begins with discovery, handshake and bundle and ends with the newest packet. Of a long session the middle is
        left out, which is one encrypted block after the other.
        """
        pair, stranger = {raw_mac(LAPTOP), raw_mac(DESKTOP)}, raw_mac(ATTACKER)
        with step("handing the attacker a recording of the session"):
            said = [frame for frame in frames(self.bench.capture) if frame[6:12] in pair and frame[:6] != stranger]
            if len(said) > RECORDING_START + RECORDING_END:
                said = said[:RECORDING_START] + said[-RECORDING_END:]
            self.attacker.put(FILE_HEADER + b"".join(record(frame, 0) for frame in said), "recording.pcap")
        say(f"it has {len(said)} packets")
        return "recording.pcap"


def autokexec(laptop: Machine) -> dict[str, int]:
    """What the laptop's service is made of: process id, resident memory (KiB), open files; how often it was called."""
    answer: dict[str, int] = json.loads(
        laptop.ssh(
            "pid=$(systemctl show --property MainPID --value stiefel-autokexec); "
            "rss=$(ps -o rss= -p $pid); files=$(sudo ls /proc/$pid/fd | wc -l); "
            "called=$(sudo journalctl -b -q -u stiefel-autokexec -g event=called | wc -l); "
            'echo "{\\"pid\\": $pid, \\"rss\\": $rss, \\"files\\": $files, \\"called\\": $called}"'
        )
    )
    return answer


def unharmed(before: dict[str, int], after: dict[str, int]) -> bool:
    """Whether the laptop's service is the same process, has not grown, and was not called."""
    grown = after["rss"] - before["rss"] > RSS_GROWTH_KIB or after["files"] > before["files"]
    return after["pid"] == before["pid"] and after["called"] == before["called"] and not grown


def attack_laptop(siege: Siege, attacks: Sequence[str], recording: str = "") -> None:
    """Attack the laptop in its normal system."""
    before = autokexec(siege.laptop)
    # It has been restarted since the recording, if there is one.
    siege.attack("laptop", LAPTOP, [22], attacks, recording, forgot=bool(recording))
    after = autokexec(siege.laptop)
    name = f"the laptop's service is unharmed and was not called by {', '.join(attacks)}"
    siege.result.facts[name] = {"before": before, "after": after}
    siege.result.check(name, unharmed(before, after))


def attack_client(siege: Siege, name: str, attacks: Sequence[str], recording: str = "") -> None:
    """Attack a desktop that looks for a laptop which does not answer; it must go on looking."""
    siege.laptop.ssh("sudo systemctl stop stiefel-autokexec")
    siege.watch.start_desktop(siege.stick, name=name)
    siege.watch.until("client", BEACON)
    siege.attack("client", name, [], attacks, recording)


def session_begins(siege: Siege) -> None:
    """Let the laptop answer again, and follow it and the desktop, which was not harmed, to the login prompt."""
    siege.watch.follow_laptop()
    siege.laptop.ssh("sudo systemctl start stiefel-autokexec")
    siege.watch.until("session", *MOVE, *LOAD)
    siege.bench.machine(DESKTOP).wait_ssh(seconds=LOGIN_SECONDS)


def attack_server(siege: Siege) -> None:
    """Attack the server while the target reads and writes; not one byte may be wrong, and it must go on."""
    recording = siege.record()
    load = Load(siege.bench.machine(DESKTOP), SEED)
    before = load.count
    # It has not heard the beacons that autokexec answered before it.
    siege.attack("server", LAPTOP, [61570], [*FIRST_LOOK, *ECHOES, *REPLAYS], recording, forgot=True)
    after = load.whole_round()
    load.stop()
    siege.result.facts["input and output of the session"] = {"before": asdict(before), "after": asdict(after)}
    siege.result.check("the session's input and output went on through all attacks", after.rounds > before.rounds)
    siege.result.check("every block that was read back is what was written", after.errors == 0)


def session_ends(siege: Siege) -> None:
    """Shut the target down; the laptop comes back."""
    siege.bench.machine(DESKTOP).press_power()
    siege.watch.until("session", RELEASED, LAPTOP_LOGIN)
    siege.bench.machine(DESKTOP).wait_off(seconds=300, why="the target was told to shut down")
    siege.laptop.wait_ssh(seconds=LOGIN_SECONDS)


def secrets(keys: Path) -> dict[str, bytes]:
    """The keys and private halves of a laptop's key file, by name."""
    entries = json.loads(keys.read_text())["keys"]
    fields = ("key", "laptop_private")
    return {f"{entry['name']} {field}": base64.b64decode(entry[field]) for entry in entries for field in fields}


def search_capture(siege: Siege, keys: Path) -> None:
    """Look for what must not have crossed the cable in clear."""
    needles = {
        CONTROL: SAID_IN_CLEAR,
        "the marked plaintext": block(SEED),
        "the kernel": siege.bench.image.kernel.read_bytes()[KERNEL_EDGE:-KERNEL_EDGE],
    }
    for name, key in secrets(keys).items():
        needles |= {f"{name}: {form}": value for form, value in derived(key).items()}
    with step("searching the capture"):
        found = search(siege.bench.capture, Needles(needles))
    siege.result.facts["capture"] = {"bytes": siege.bench.capture.stat().st_size, "found": found}
    siege.result.check(f"the search finds {CONTROL}", CONTROL in found)
    for name in needles.keys() - {CONTROL}:
        siege.result.check(f"not on the cable: {name}", name not in found)


def run_siege(bench: Bench, stick: Path, keys: Path, report: Path) -> None:
    """The whole siege, as long as about fifteen minutes without KVM; leaves a report.

    Raises:
        LabError: an attack gained something, somebody took harm, or the machines did not get that far.
    """
    result = Result()
    with result.kept(report), Watch(bench) as watch:
        siege = Siege(watch, stick, result)
        siege.prepare()
        attack_laptop(siege, FIRST_LOOK)
        attack_client(siege, DESKTOP, [*FIRST_LOOK, *ECHOES, "silencing"])
        session_begins(siege)
        attack_server(siege)
        session_ends(siege)
        search_capture(siege, keys)
        attack_laptop(siege, [*REPLAYS, *ECHOES], siege.record())
        attack_client(siege, DESKTOP2, [*REPLAYS, "silencing"], "recording.pcap")
    result.verdict()


def attack(options: argparse.Namespace) -> None:
    """Let a third machine attack laptop, client and server, with a session going on; needs `up --hub`."""
    run_siege(bench_of(options), options.stick, options.keys, output(options) / "attack.json")


KEYS = Argument("--keys", type=Path, required=True, help="the key file, whose keys must not be on the cable")
TRIALS = (Command("attack", attack, (STICK, OUTPUT, KEYS)),)
