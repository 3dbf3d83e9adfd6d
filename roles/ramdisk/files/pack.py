#!/usr/bin/env python3
"""Pack the ramdisk's root folder into initrds: what is kept, its kernel modules with their firmware, and the agent.

client.img is what a stick carries. server.img is the same and what only the laptop needs as well: the drivers of its
disk and screen, and what serves the disk. So a stick is smaller, and its system has no driver for the desktop's disks.

Usage: pack.py PLAN.json

PLAN.json:
    root              folder made by debootstrap; only read
    overlay           what is laid over it (agent, units, configuration): path => one of
                      {"source": a file, or a folder of which hidden files and caches stay out, "mode": octal digits},
                      {"content": text, "mode": ...}, {"link": where to}; the mode's default is 0644
    work              folder for intermediate files
    output            folder that gets client.img, server.img, vmlinuz, manifest.json, and the overlay as a folder
    compression       zstd level, 1-19
    exclude_packages  Debian packages of which no file is kept
    exclude_paths     glob patterns (fnmatch: `*` also matches `/`) of paths, relative to the root, that are not kept
    keep_paths        glob patterns that are kept whatever the excludes say
    python_extra      names of Python's modules that are kept beside those that the overlay's
                      own import; null keeps them all
    modules           glob patterns of kernel modules, relative to kernel/; what these depend on comes along
    server            what only server.img has: {"packages": Debian packages, "modules": patterns as above}

An initrd is several zstd frames, one after the other: the kernel unpacks each cpio archive over the ones before
(https://docs.kernel.org/driver-api/early-userspace/buffer-format.html). All but the overlay's are kept in `work` and
only made again when what goes into them changes, so that a changed agent costs seconds.
"""

from __future__ import annotations

import contextlib
import fcntl
import fnmatch
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from follow import note  # beside this script

MEBIBYTE = 1 << 20
PYTHON = re.compile(r"usr/lib/python3\.\d+/.+\.(py|pyc|cpython-.*\.so)")
"""A file of Python's library that holds a module; other files there are kept or dropped by the patterns alone."""
IMPORTED = """
import importlib, pkgutil, sys
from pathlib import Path
source, packages, extra = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
sys.path[:0] = [str(source)]
sys.path.append(packages)
for name in [folder.parent.name for folder in source.glob("*/__init__.py")]:
    for module in pkgutil.walk_packages([str(source / name)], f"{name}."):
        importlib.import_module(module.name)
for name in extra:
    importlib.import_module(name)
print("\\n".join(file for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))))
"""
"""A program: imports all packages of a folder, and some modules more; prints the files of all that was imported."""
NOT_ARCHIVED = ("proc/*", "sys/*", "dev/*", "run/*", "tmp/*", "boot/*", "usr/lib/modules/*", "usr/lib/firmware/*")


@dataclass(frozen=True)
class Plan:
    """What to pack; the fields are described in the module's docstring."""

    root: Path
    overlay: Mapping[str, Mapping[str, str]]
    work: Path
    output: Path
    compression: int
    exclude_packages: tuple[str, ...]
    exclude_paths: tuple[str, ...]
    keep_paths: tuple[str, ...]
    python_extra: tuple[str, ...] | None
    modules: tuple[str, ...]
    server_packages: tuple[str, ...]
    server_modules: tuple[str, ...]

    @classmethod
    def load(cls, path: Path) -> Plan:
        """Read a plan from its JSON file."""
        raw = json.loads(path.read_text())
        return cls(
            root=Path(raw["root"]),
            overlay=raw["overlay"],
            work=Path(raw["work"]),
            output=Path(raw["output"]),
            compression=raw["compression"],
            exclude_packages=tuple(raw["exclude_packages"]),
            exclude_paths=tuple(raw["exclude_paths"]),
            keep_paths=tuple(raw["keep_paths"]),
            python_extra=None if raw["python_extra"] is None else tuple(raw["python_extra"]),
            modules=tuple(raw["modules"]),
            server_packages=tuple(raw["server"]["packages"]),
            server_modules=tuple(raw["server"]["modules"]),
        )


def matcher(patterns: Iterable[str]) -> re.Pattern[str]:
    """Return one expression that matches whatever any of the glob patterns matches."""
    return re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns) or r"(?!)")


def files_of_packages(root: Path, packages: Iterable[str]) -> set[str]:
    """Return the paths that packages own, relative to the root and through the merged /usr (dpkg(1), info/*.list)."""
    owned = set()
    for package in packages:
        lists = [*root.glob(f"var/lib/dpkg/info/{package}.list"), *root.glob(f"var/lib/dpkg/info/{package}:*.list")]
        for line in "".join(name.read_text() for name in lists).splitlines():
            path = line.lstrip("/")
            owned.add(f"usr/{path}" if re.match(r"(bin|sbin|lib|lib64)/", path) else path)
    return owned


def python_in_place(root: Path) -> tuple[str, ...]:
    """Return the command that runs the root folder's own Python by its own loader; it wants PYTHONHOME."""
    libraries = root / "usr/lib/x86_64-linux-gnu"
    return (
        str(root / "usr/lib64/ld-linux-x86-64.so.2"), "--library-path", str(libraries), str(root / "usr/bin/python3"),
    )  # fmt: skip


def imported(root: Path, source: Path, extra: Iterable[str]) -> frozenset[str]:
    """Return the files, relative to the root, of all that the packages in `source` import from Python's library."""
    packages = str(root / "usr/lib/python3/dist-packages")
    listed = subprocess.run(
        [*python_in_place(root), "-B", "-c", IMPORTED, str(source), packages, *extra],
        check=True, text=True, stdout=subprocess.PIPE, env={"PYTHONHOME": str(root / "usr")},
    )  # fmt: skip
    files = (Path(line).resolve() for line in listed.stdout.splitlines())
    return frozenset(str(file.relative_to(root.resolve())) for file in files if file.is_relative_to(root.resolve()))


def source_of(path: str) -> str:
    """Return the source that a file of compiled Python was made from; any other path as it is (PEP 3147)."""
    compiled = re.fullmatch(r"(.*/)__pycache__/([^.]+)\..*pyc", path)
    return f"{compiled[1]}{compiled[2]}.py" if compiled else path


def kept_files(plan: Plan, python: frozenset[str] | None) -> Iterator[str]:
    """Yield the paths of the root folder that go into any archive, parents before children.

    `python`: the files of Python's library that are kept of those that hold modules; None for all.
    """
    excluded = matcher((*NOT_ARCHIVED, *plan.exclude_paths))
    kept = matcher(plan.keep_paths)
    owned = files_of_packages(plan.root, plan.exclude_packages)
    yield "."
    for folder, names, files in os.walk(plan.root):
        base = os.path.relpath(folder, plan.root)
        names.sort()
        for name in sorted([*names, *files]):
            path = name if base == "." else f"{base}/{name}"
            whole = Path(folder, name)
            is_folder = whole.is_dir() and not whole.is_symlink()
            dropped = excluded.match(path) or (path in owned and not is_folder)
            if python is not None and PYTHON.fullmatch(path):
                dropped = dropped or source_of(path) not in python
            if kept.match(path) or not dropped:
                yield path


def kernel_version(root: Path) -> str:
    """Return the version of the one kernel in the root folder."""
    versions = [path.name for path in (root / "usr/lib/modules").iterdir() if (path / "modules.dep").exists()]
    if len(versions) != 1:
        sys.exit(f"pack.py: expected one kernel in {root}, found {versions}: delete {root} and run again")
    return versions[0]


def module_closure(tree: Path, patterns: Iterable[str]) -> set[str]:
    """Return the wanted modules with all that they depend on, as paths relative to the tree (modules.dep(5))."""
    depends = dict(line.split(":", 1) for line in (tree / "modules.dep").read_text().splitlines())
    wanted = matcher(f"kernel/{pattern}" for pattern in patterns)
    todo = [name for name in depends if wanted.match(name)]
    soft = soft_dependencies(tree, {module_name(name): name for name in depends})
    found: set[str] = set()
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += depends[name].split() + soft.get(module_name(name), [])
    return found


def module_name(path: str) -> str:
    """Return the name that the kernel gives a module file."""
    return Path(path).name.split(".ko")[0].replace("-", "_")


def soft_dependencies(tree: Path, paths: dict[str, str]) -> dict[str, list[str]]:
    """Return for each module the paths of those it wants beside it, by name or by alias (modprobe.d(5), softdep)."""
    named: dict[str, list[str]] = {name: [path] for name, path in paths.items()}
    for line in (tree / "modules.alias").read_text().splitlines()[1:]:  # the first is a comment
        _, alias, module = line.split(maxsplit=2)
        named.setdefault(alias.replace("-", "_"), []).append(paths[module])
    wants: dict[str, list[str]] = {}
    for line in (tree / "modules.softdep").read_text().splitlines():
        if line.startswith("softdep "):
            _, module, *others = line.replace("-", "_").split()
            wants[module] = [path for other in others if not other.endswith(":") for path in named.get(other, [])]
    return wants


def firmware_of(modules: Iterable[Path]) -> set[str]:
    """Return the firmware file patterns that the modules name (modinfo(8), field firmware)."""
    names = [str(module) for module in modules]
    listed = subprocess.run(["modinfo", "-F", "firmware", *names], check=True, text=True, stdout=subprocess.PIPE)
    return set(listed.stdout.split())


def stage_drivers(plan: Plan, patterns: Iterable[str], firmware: Path, stage: Path) -> None:
    """Lay the wanted modules, their dependency lists and their firmware into a folder, made anew.

    `firmware`: where that is, compressed.
    """
    shutil.rmtree(stage, ignore_errors=True)
    version = kernel_version(plan.root)
    source = plan.root / "usr/lib/modules" / version
    target = stage / "usr/lib/modules" / version
    modules = module_closure(source, patterns)
    for name in [*modules, *(path.name for path in source.glob("modules.builtin*")), "modules.order"]:
        copy(source / name, target / name)
    merged_usr = stage / "lib"  # where depmod(8) looks, whatever the distribution it was built for
    merged_usr.symlink_to("usr/lib")
    subprocess.run(["depmod", "--basedir", str(stage), version], check=True)
    merged_usr.unlink()
    for pattern in firmware_of(source / name for name in modules):
        copy_with_target(firmware, f"{pattern}.zst", stage / "usr/lib/firmware")


def stage_firmware(plan: Plan, patterns: Iterable[str], stage: Path) -> None:
    """Lay the firmware of the wanted modules into a folder, made anew, file by file compressed.

    The kernel looks for NAME.zst where there is no NAME (FW_LOADER_COMPRESS_ZSTD), so a desktop unpacks what its own
    adapter asks for, and not all that there is.
    """
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir()
    source = plan.root / "usr/lib/modules" / kernel_version(plan.root)
    for pattern in firmware_of(source / name for name in module_closure(source, patterns)):
        copy_with_target(plan.root / "usr/lib/firmware", pattern, stage)
    files = sorted(path for path in stage.rglob("*") if path.is_file() and not path.is_symlink())
    command = ["zstd", "--quiet", "--rm", f"-{plan.compression}"]
    processors = os.cpu_count() or 1
    shares = [share for first in range(processors) if (share := files[first::processors])]
    pressing = [subprocess.Popen([*command, *share]) for share in shares]
    statuses = [one.wait() for one in pressing]
    if any(statuses):
        sys.exit(f"pack.py: compressing firmware in {stage} failed: is there space left?")
    for link in [path for path in stage.rglob("*") if path.is_symlink()]:
        link.with_name(f"{link.name}.zst").symlink_to(f"{link.readlink()}.zst")
        link.unlink()


def copy_with_target(source: Path, pattern: str, target: Path) -> None:
    """Copy the files that a pattern means to the same place below another folder; of a link, what it leads to, too."""
    for path in source.glob(pattern.lstrip("/")):
        for part in {path.resolve().relative_to(source.resolve()), path.relative_to(source)}:
            copy(source / part, target / part)


def copy(source: Path, target: Path) -> None:
    """Copy a file with its times, or a symbolic link as a link, making the folders it needs."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        shutil.copy2(source, target, follow_symlinks=False)


def pack(folder: Path, names: Iterable[str], output: Path, level: int) -> None:
    """Write a zstd-compressed newc cpio archive of the named paths, owned by root, the same for the same input."""
    chosen = list(names)
    size = sum(there.st_size for name in chosen if not stat.S_ISDIR((there := (folder / name).lstat()).st_mode))
    with tempfile.TemporaryFile() as listing:
        listing.write(b"".join(f"{name}\0".encode() for name in chosen))
        listing.seek(0)
        packing = subprocess.Popen(
            ["cpio", "--quiet", "--null", "--create", "--format=newc", "--reproducible", "--owner=+0:+0"],
            cwd=folder, stdin=listing, stdout=subprocess.PIPE,
        )  # fmt: skip
    pressing = subprocess.Popen(
        ["zstd", "--quiet", "--force", f"-{level}", "-T0", "-o", str(output)], stdin=subprocess.PIPE
    )
    assert packing.stdout and pressing.stdin
    with contextlib.suppress(BrokenPipeError), packing.stdout, pressing.stdin:
        feed(packing.stdout, pressing.stdin, size)
    if packing.wait() or pressing.wait():
        sys.exit(f"pack.py: packing {folder} into {output} failed: is there space left?")


def feed(source: IO[bytes], sink: IO[bytes], size: int) -> None:
    """Hand on about `size` bytes, and note how far that is for who waits (STIEFEL_PROGRESS names a file)."""
    handed_on = noted = 0
    while part := source.read(MEBIBYTE):
        sink.write(part)
        handed_on += len(part)
        percent = min(100, 100 * handed_on // size) if size else 100
        if percent > noted:
            note(f"{percent} % of {size // MEBIBYTE} MiB")
            noted = percent


def everything(folder: Path) -> Iterator[str]:
    """Yield every path below a folder, parents before children."""
    return (str(path.relative_to(folder)) for path in sorted(folder.rglob("*")))


def added(folder: Path, to: Path) -> Iterator[str]:
    """Yield every path below a folder that is not below the other one, or is another file there (lists of modules)."""
    for path in everything(folder):
        ours, theirs = folder / path, to / path
        if not os.path.lexists(theirs) or (ours.is_file() and ours.read_bytes() != theirs.read_bytes()):
            yield path


def compile_python(root: Path, overlay: Path) -> None:
    """Byte-compile the overlay's Python with the ramdisk's own interpreter."""
    compiling = ("-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "-s", overlay, "-p", "/", overlay)
    command = [*python_in_place(root), *(str(word) for word in compiling)]
    subprocess.run(command, check=True, env={"PYTHONHOME": str(root / "usr")})


@dataclass(frozen=True)
class Entry:
    """One file or symbolic link of the overlay."""

    path: str
    mode: int
    content: bytes
    """The file's content, or where the link leads to."""
    is_link: bool = False


def overlay_entries(overlay: Mapping[str, Mapping[str, str]]) -> Iterator[Entry]:
    """Yield the overlay's files and links, those of a folder one by one."""
    for path, what in sorted(overlay.items()):
        mode = int(what.get("mode", "0644"), 8)
        if "link" in what:
            yield Entry(path, 0o777, what["link"].encode(), is_link=True)
        elif "content" in what:
            yield Entry(path, mode, what["content"].encode())
        elif (source := Path(what["source"])).is_dir():
            for file in sorted(file for file in source.rglob("*") if file.is_file()):
                name = file.relative_to(source)
                if not any(part.startswith((".", "__pycache__")) for part in name.parts):
                    yield Entry(f"{path}/{name}", mode, file.read_bytes())
        else:
            yield Entry(path, mode, source.read_bytes())


def lay(entries: Iterable[Entry], folder: Path) -> None:
    """Make a folder anew that holds the entries and nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    for entry in entries:
        target = folder / entry.path
        target.parent.mkdir(parents=True, exist_ok=True)
        if entry.is_link:
            target.symlink_to(entry.content.decode())
        else:
            target.write_bytes(entry.content)
            target.chmod(entry.mode)


def digest(*parts: object) -> str:
    """Return a short name for what something was made from."""
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:16]


def base_inputs(plan: Plan, python: frozenset[str] | None) -> str:
    """Return the digest of all that decides the base frames."""
    stamp = (plan.root / "etc/stiefel-root.stamp").read_text()
    modules = plan.modules, plan.server_modules, plan.server_packages
    choice = (plan.exclude_packages, plan.exclude_paths, plan.keep_paths, modules, plan.compression)
    return digest(stamp, choice, python and sorted(python), Path(__file__).read_text())


def overlay_inputs(entries: Iterable[Entry]) -> str:
    """Return the digest of the overlay's names, modes and contents; compiled Python follows from its source."""
    return digest([(entry.path, entry.mode, hashlib.sha256(entry.content).hexdigest()) for entry in entries])


@dataclass(frozen=True)
class Base:
    """The root folder and the drivers, packed: what every system has, and what the server's has as well."""

    client: Path
    server: Path


def base_frames(plan: Plan, python: frozenset[str] | None, inputs: str) -> Base:
    """Return the frames of root folder and drivers, made anew only when what they are made from has changed."""
    base = Base(plan.work / f"base-{inputs}-client.cpio.zst", plan.work / f"base-{inputs}-server.cpio.zst")
    if not base.server.exists():
        for old in plan.work.glob("base-*"):
            old.unlink()
        owned = files_of_packages(plan.root, plan.server_packages)
        served = {path for path in owned if (whole := plan.root / path).is_symlink() or not whole.is_dir()}
        files = list(kept_files(plan, python))
        drivers, all_drivers = plan.work / "drivers-client", plan.work / "drivers-server"
        all_modules, firmware = [*plan.modules, *plan.server_modules], plan.work / "firmware"
        stage_firmware(plan, all_modules, firmware)
        stage_drivers(plan, plan.modules, firmware, drivers)
        stage_drivers(plan, all_modules, firmware, all_drivers)
        write_base(plan, (path for path in files if path not in served), drivers, everything(drivers), base.client)
        write_base(
            plan, (path for path in files if path in served), all_drivers, added(all_drivers, drivers), base.server
        )
    return base


def write_base(plan: Plan, files: Iterable[str], drivers: Path, names: Iterable[str], frame: Path) -> None:
    """Pack some files of the root folder, and some of a folder of drivers."""
    half, other = frame.with_suffix(".new"), frame.with_suffix(".drivers")
    pack(plan.root, files, half, plan.compression)
    pack(drivers, names, other, plan.compression)
    with half.open("ab") as whole:
        whole.write(other.read_bytes())
    other.unlink()
    half.rename(frame)


def write_whole(target: Path, data: bytes) -> None:
    """Write a file such that nobody ever sees half of it."""
    half = target.with_name(f"{target.name}.new")
    try:
        half.write_bytes(data)
    except OSError as error:
        half.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(target)) from error
    half.rename(target)


def main() -> None:
    """Pack what the plan on the command line says; say in one JSON object what came of it."""
    plan = Plan.load(Path(sys.argv[1]))
    plan.work.mkdir(parents=True, exist_ok=True)
    with (plan.work / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two builds at once would write into each other's frames
        try:
            print(json.dumps(make(plan)))
        except OSError as error:
            where = error.filename or plan.work
            raise SystemExit(f"{where}: {error.strerror}. What was built before is still there.") from error


def make(plan: Plan) -> dict[str, object]:
    """Make what is not up to date; return what came of it."""
    manifest = plan.output / "manifest.json"
    entries = list(overlay_entries(plan.overlay))
    folder, overlay = plan.output / "overlay", plan.work / "overlay.cpio.zst"
    lay(entries, folder)
    python = None if plan.python_extra is None else imported(plan.root, folder / "usr/lib/stiefel", plan.python_extra)
    base = base_inputs(plan, python)
    made_from = [base, overlay_inputs(entries)]
    if manifest.exists() and json.loads(manifest.read_text())["made_from"] == made_from:
        return {"changed": False}
    frames = base_frames(plan, python, base)
    compile_python(plan.root, folder)
    pack(folder, everything(folder), overlay, plan.compression)
    version = kernel_version(plan.root)
    client = frames.client.read_bytes() + overlay.read_bytes()
    facts: dict[str, object] = {"kernel": version, "made_from": made_from}
    for name, initrd in (("client.img", client), ("server.img", client + frames.server.read_bytes())):
        write_whole(plan.output / name, initrd)
        facts[name] = {"bytes": len(initrd), "sha256": hashlib.sha256(initrd).hexdigest()}
    write_whole(plan.output / "vmlinuz", (plan.root / "boot" / f"vmlinuz-{version}").read_bytes())
    write_whole(manifest, json.dumps(facts, indent=2).encode())
    return {"changed": True, **facts}


if __name__ == "__main__":
    main()
