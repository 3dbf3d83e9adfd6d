"""What a boot reads is noted, and read ahead of the next one: on a real filesystem, in a mount namespace of its own."""

import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from stiefel_agent.target import ahead, replay
from stiefel_agent.target.reads import LONGEST, Reads

SOURCE = Path(ahead.__file__).parents[2]
MIB = 1 << 20
BEGIN = """
import json, os, subprocess, sys
from pathlib import Path
image, root, source = sys.argv[1:]
sys.path.insert(0, source)
from stiefel_agent.machine import page_cache
from stiefel_agent.target import ahead, record
from stiefel_agent.target.reads import Reads, parse
from stiefel_agent.target.record import Recorder
from stiefel_agent.target.replay import replay
record.AFTER_LOGIN_SECONDS = 0.1
proc = os.open("/proc", os.O_PATH)

def mount():
    subprocess.run(["mount", "-o", "loop", image, root], check=True)

def enter():
    global disk, sectors
    disk = ahead.disk_of(root)
    number = os.fstat(disk).st_rdev
    sectors = os.open(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/stat", os.O_RDONLY)
    os.chroot(root)
    os.chdir("/")

def read(name, *places):
    file = os.open(name, os.O_RDONLY)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
    for place in places:
        os.pread(file, 1, place)

def in_memory(name):
    file = os.open(name, os.O_RDONLY)
    return page_cache.resident(file, 0, os.fstat(file).st_size)

def requests():
    return int(os.pread(sectors, 100, 0).split()[0])

def log_in(user):
    Path("run/user", user).mkdir(parents=True)
"""


@pytest.fixture
def system(tmp_path):
    """Return a function that runs a program within a filesystem that nothing is in memory of."""
    if os.geteuid() != 0:
        pytest.skip("a filesystem needs root")
    image, root, content = (tmp_path / name for name in ("image", "root", "content"))
    root.mkdir()
    (content / "var/lib/stiefel").mkdir(parents=True)
    for name in ("first", "second", "third"):
        (content / name).write_bytes(os.urandom(MIB))
        os.utime(content / name, (0, 0))
    (content / "many").mkdir()
    for number in range(300):
        (content / "many" / str(number)).touch()
    with image.open("wb") as file:
        file.truncate(64 * MIB)
    subprocess.run(["mkfs.ext4", "-q", "-d", content, image], check=True, timeout=60)

    def run(program):
        program = BEGIN + textwrap.dedent(program)
        command = ["unshare", "--mount", sys.executable, "-c", program, image, root, SOURCE]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


NOTED = """
mount(); enter()
recorder = Recorder(proc, disk)
os.lstat("/many/299")
read("/second", 0, 4096, 500_000)
read("/first", 1_000_000)
log_in("1000")
print(json.dumps(recorder.until_login()))
noted = recorder.reads()
print(json.dumps(noted.files))
ahead.keep(Path("/var/lib/stiefel/reads/6.12"), noted)
"""
FILES = [["/second", [[0, 8192], [499_712, 4096]]], ["/first", [[999_424, 4096]]]]


def test_what_is_opened_is_noted_in_its_order_and_only_the_parts_that_were_read(system):
    assert system(NOTED) == [True, FILES]


def test_the_next_boot_reads_that_ahead_and_no_more(system):
    system(NOTED)
    files, then = system("""
        mount(); enter()
        noted = parse(Path("/var/lib/stiefel/reads/6.12").read_text())
        replay(noted, disk)
        print(json.dumps([[name, in_memory(name)] for name in ("/second", "/first")]))
        before = requests()
        read("/second", 0, 4096, 500_000)
        read("/first", 1_000_000)
        print(json.dumps([requests() - before, in_memory("/third")]))
        """)
    assert files == FILES
    assert then == [0, []]


def test_what_a_boot_writes_itself_is_not_noted(system):
    [files] = system("""
        mount(); enter()
        recorder = Recorder(proc, None)
        with open("/first", "a") as log:
            log.write("a line")
        read("/first", 0)
        read("/second", 0)
        Path("/second").unlink()
        read("/third", 0)
        log_in("1000")
        recorder.until_login()
        print(json.dumps(recorder.reads().files))
        """)
    assert files == [["/third", [[0, 4096]]]]


@pytest.mark.parametrize("user", ["107", "60578", "nobody"])
def test_a_boot_at_which_no_person_logs_in_is_not_noted(system, user):
    assert system(f"""
        record.LOGIN_SECONDS = 0
        mount(); enter()
        log_in({user!r})
        print(json.dumps(Recorder(proc, None).until_login()))
        """) == [False]


def test_what_another_file_has_the_name_of_is_not_noted(system):
    [files] = system("""
        mount(); enter()
        recorder = Recorder(proc, None)
        read("/third", 0)
        log_in("1000")
        recorder.until_login()
        Path("/second").rename("/third")
        read("/third", 0)
        print(json.dumps(recorder.reads().files))
        """)
    assert files == []


def test_folders_and_inodes_are_read_ahead_too(system):
    """Where the disk's own cache has them, as with ext4, and the kernel can say so: cachestat(2)."""
    system(NOTED)
    [asked] = system("""
        mount(); enter()
        noted = parse(Path("/var/lib/stiefel/reads/6.12").read_text())
        replay(Reads(noted.disk), disk)
        before = requests()
        os.lstat("/many/299")
        try:
            page_cache._count(disk, 0, 0)
            print(json.dumps(requests() - before))
        except OSError:
            print(json.dumps(None))
        """)
    if asked is None:
        pytest.skip("this kernel has no cachestat")
    assert asked == 0


def test_what_is_not_the_file_any_more_is_not_even_opened(system):
    opened, end, other = system("""
        mount(); enter()
        os.mkfifo("/fifo")
        os.symlink("/third", "/link")
        Path("/first").write_bytes(b"short")
        names = [*(f"/gone{number}" for number in range(64)), "/fifo", "/link", "/run", "/first", "/second"]
        opened, really = [], os.open
        os.open = lambda name, *flags: opened.append(name) or really(name, *flags)
        replay(Reads(((1 << 50, 4096),), tuple((name, ((0, 1 << 20),)) for name in names)), disk)
        print(json.dumps(sorted(opened)))
        print(json.dumps(in_memory("/second")))
        print(json.dumps(in_memory("/third")))
        """)
    assert opened == ["/first", "/second"]
    assert end == [[0, MIB]]
    assert other == []


def test_a_file_is_announced_once_through_whatever_mount(system):
    """A service has mounts of its own; and a library is opened by every program."""
    first, again = system("""
        from stiefel_agent.machine.openings import Openings
        mount()
        openings = Openings(root)
        subprocess.run(["mount", "--bind", root, "/mnt"], check=True)
        for place in ("/mnt", root):
            read(f"{place}/first", 0)
            print(json.dumps([Path(f"/proc/self/fd/{file}").readlink().name for file in openings.read()]))
        """)
    assert first == ["first"]
    assert again == []


GO = """
class Voice:
    def note(self, text):
        print(json.dumps(text), flush=True)

ahead.ROOTS = (root,)
reading = os.fork()
if reading == 0:
    ahead._run(Voice())
    os._exit(0)
mount()
assert os.waitpid(reading, 0)[1] == 0
"""


def test_it_begins_as_soon_as_root_is_mounted(system):
    system(NOTED.replace("6.12", os.uname().release))
    [said] = system(GO)
    assert said.startswith("event=read_ahead files=2 megabytes=0 seconds=")


def test_no_more_is_read_ahead_than_there_is_memory_to_spare(system):
    system(NOTED.replace("6.12", os.uname().release))
    [said] = system("ahead._spare_memory = lambda _proc: 0" + GO)
    assert said.startswith("event=read_ahead files=0 megabytes=0 ")


def test_a_root_without_our_folder_is_left_alone(system):
    system("mount(); os.rmdir(root + '/var/lib/stiefel')")
    assert system(GO) == []


def test_a_damaged_list_is_made_anew(system):
    """By a process that a shutdown may end from then on: it writes."""
    place = f"/var/lib/stiefel/reads/{os.uname().release}"
    system(f"mount(); enter(); place = Path({place!r}); place.parent.mkdir(); place.write_text('damaged')")
    system("mount(); enter(); log_in('0')")
    why, name, noted = system("ahead.storage_daemon.rename = lambda name: print(json.dumps(name), flush=True)" + GO)
    assert why.endswith("it is made anew")
    assert name == "stiefel-ahead"
    assert noted.startswith("event=reads_noted")
    assert system(GO)[0].startswith("event=read_ahead")


class Silence:
    def note(self, text):
        pass


def test_a_list_serves_for_a_month(tmp_path):
    place = tmp_path / "6.12"
    place.write_text(Reads(files=(("/name", ((0, 1),)),)).to_json())
    for age, there in ((0, True), (29, True), (31, False), (-1, False)):
        when = time.time() - age * 86400 - 5
        os.utime(place, (when, when))
        assert bool(ahead._list(place, Silence())) == there, age


def test_a_list_that_is_too_long_is_none(tmp_path):
    place = tmp_path / "6.12"
    place.write_text(Reads().to_json() + " " * LONGEST)
    assert ahead._list(place, Silence()) is None


def test_lists_are_roots_alone_and_go_with_their_kernel(tmp_path, monkeypatch):
    monkeypatch.setattr(ahead, "MODULES", tmp_path / "modules")
    (tmp_path / "modules/6.11").mkdir(parents=True)
    for version in ("6.10", "6.11", "6.12"):
        ahead.keep(tmp_path / "reads" / version, Reads())
    assert {path.name for path in (tmp_path / "reads").iterdir()} == {"6.11", "6.12"}
    assert (tmp_path / "reads").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "reads/6.12").stat().st_mode & 0o777 == 0o600


def test_a_full_disk_leaves_the_old_list_and_nothing_else(tmp_path, monkeypatch):
    place = tmp_path / "reads/6.12"
    ahead.keep(place, Reads())
    monkeypatch.setattr(os, "fsync", lambda _file: os.open("/nowhere/at/all", os.O_RDONLY))
    with pytest.raises(OSError, match="nowhere"):
        ahead.keep(place, Reads(files=(("/name", ((0, 1),)),)))
    assert list(place.parent.iterdir()) == [place]
    assert place.read_text() == Reads().to_json()


def test_a_boot_goes_on_where_there_is_no_process_for_it(monkeypatch):
    def fork():
        raise BlockingIOError

    monkeypatch.setattr(os, "fork", fork)
    ahead.start()


def test_so_many_pieces_are_on_their_way_at_once(tmp_path, monkeypatch):
    """Each waits for the others: with one fewer at a time, the barrier would break."""
    together, broken = threading.Barrier(replay.AT_A_TIME), []

    def fetch(_file, _start, _length):
        try:
            together.wait(60)
        except threading.BrokenBarrierError as error:
            broken.append(error)

    monkeypatch.setattr(replay, "_fetch", fetch)
    replay.replay(Reads(((0, replay.AT_A_TIME * replay.PIECE),)), 0)
    assert not broken
