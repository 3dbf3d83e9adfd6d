"""The project as a collection: built, installed into an empty folder, and used by full name from another one."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import variable_docs as docs
import yaml
from conftest import ROOT

NAME = "sft.stiefelsystem"
TOOLS = Path(sys.executable).parent
INVENTORY = """\
all:
  vars: {ansible_connection: local, ansible_python_interpreter: /usr/bin/python3}
  children:
    laptops: {hosts: {somewhere: {}}}
    ungrouped: {hosts: {localhost: {}}}
"""
LEFTOVERS = (
    ".hypothesis/left",
    "files/ramdisk-agent/.hypothesis/left",
    "roles/.mypy_cache/left",
    "entry/__pycache__/left",
)
"""What a tree has lying about that was used for a while."""


@dataclass(frozen=True)
class Installed:
    """A collection in a folder of its own, and another folder to use it from."""

    archive: Path
    collections: Path
    elsewhere: Path

    def run(self, *argv: str) -> "subprocess.CompletedProcess[str]":
        """Run one of Ansible's tools as somebody does who has nothing of the git tree."""
        settings = {"ANSIBLE_COLLECTIONS_PATH": str(self.collections), "ANSIBLE_HOME": str(self.elsewhere / ".ansible")}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        return subprocess.run(
            [TOOLS / argv[0], *argv[1:]], cwd=self.elsewhere, env=kept | settings | {"LC_ALL": "C.UTF-8"},
            text=True, capture_output=True, check=False, timeout=600,
        )  # fmt: skip

    def play(self, playbook: str, *argv: str) -> "subprocess.CompletedProcess[str]":
        """Run a playbook by its full name with an inventory that is not ours."""
        (self.elsewhere / "hosts.yml").write_text(INVENTORY)
        return self.run("ansible-playbook", f"{NAME}.{playbook}", "--inventory=hosts.yml", *argv)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Build the archive from the tree as it is, with what a used tree has lying about, and install it."""
    folder = tmp_path_factory.mktemp("collection")
    (folder / "elsewhere").mkdir()
    made = Installed(folder / "archive", folder / "collections", folder / "elsewhere")
    for leftover in LEFTOVERS:
        (ROOT / leftover).parent.mkdir(exist_ok=True)
        (ROOT / leftover).touch()
    built = made.run("ansible-galaxy", "collection", "build", f"--output-path={made.archive}", str(ROOT))
    for leftover in LEFTOVERS:
        (ROOT / leftover).unlink()
    assert built.returncode == 0, built.stderr
    (archive,) = made.archive.glob("*.tar.gz")
    done = made.run("ansible-galaxy", "collection", "install", "--offline", f"-p{made.collections}", str(archive))
    assert done.returncode == 0, done.stderr
    return Installed(archive, made.collections, made.elsewhere)


def test_nothing_is_packed_that_git_does_not_know(installed: Installed) -> None:
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    with tarfile.open(installed.archive) as archive:
        packed = {member.name for member in archive if not member.isdir()}
    assert packed - {"MANIFEST.json", "FILES.json"} <= set(listing.stdout.splitlines())
    assert {name for name in packed if name.startswith((".", "molecule/", "tests/test", "build/", "entry/"))} == set()


def test_every_playbook_is_found_with_all_that_it_names(installed: Installed) -> None:
    for playbook in ("site", "preflight", "uninstall"):
        checked = installed.play(playbook, "--syntax-check")
        assert checked.returncode == 0, checked.stderr


def test_every_role_explains_itself(installed: Installed) -> None:
    names = [f"{NAME}.{role}" for role in docs.roles()]
    shown = installed.run("ansible-doc", f"--playbook-dir={installed.elsewhere}", "--type=role", "--json", *names)
    assert shown.returncode == 0, shown.stderr
    told = json.loads(shown.stdout)
    for role in docs.roles():
        specs = yaml.safe_load((ROOT / f"roles/{role}/meta/argument_specs.yml").read_text())["argument_specs"]
        assert set(told[f"{NAME}.{role}"]["entry_points"]) == set(specs)


FOLDERS = {"module": "modules"}
"""Where plugins of a kind are, if not in a folder of that name."""


def test_every_plugin_explains_itself(installed: Installed) -> None:
    for kind in ("filter", "callback", "module"):
        names = [
            f"{NAME}.{plugin.stem}" for plugin in sorted((ROOT / "plugins" / FOLDERS.get(kind, kind)).glob("*.py"))
        ]
        shown = installed.run("ansible-doc", f"--type={kind}", "--json", *names)
        assert shown.returncode == 0, shown.stderr
        told = json.loads(shown.stdout)
        assert {name for name in names if told[name]["doc"]["short_description"]} == set(names)


LOCAL_SANITY = (
    "compile", "empty-init", "line-endings", "no-assert", "no-get-exception", "no-illegal-filenames", "no-smart-quotes",
    "replace-urlopen", "shebang", "symlinks", "use-argspec-type-path", "use-compat-six",
)  # fmt: skip
"""ansible-test's checks that need nothing from the network; the others fetch pip first."""


def test_ansible_test_finds_nothing(installed: Installed) -> None:
    python = ".".join(map(str, sys.version_info[:2]))
    chosen = [f"--test={name}" for name in LOCAL_SANITY]
    found = subprocess.run(
        [TOOLS / "ansible-test", "sanity", "--local", f"--python={python}", *chosen],
        cwd=installed.collections / "ansible_collections/sft/stiefelsystem",
        text=True, capture_output=True, check=False, timeout=600,
    )  # fmt: skip
    assert found.returncode == 0, found.stdout + found.stderr


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="the plays would ask for sudo's password")


@needs_root
def test_a_preflight_from_elsewhere_looks_at_the_laptop(installed: Installed, tmp_path: Path) -> None:
    build = f"--extra-vars=stiefel_build_dir={tmp_path}"
    looked = installed.play("preflight", build)
    assert "Stiefelsystem" in looked.stdout, looked.stdout + looked.stderr
    assert "undefined" not in looked.stdout + looked.stderr
    assert (tmp_path / "preflight.pyz").exists()
    refused = installed.play("preflight", build, "--extra-vars=usbdrive_devce=x")
    assert "Did you mean usbdrive_device? Nothing was changed." in refused.stdout


@needs_root
def test_a_role_by_its_full_name_knows_its_defaults(installed: Installed) -> None:
    """The folder for keys lies outside of the collection, which a newer version replaces with all that is in it."""
    (installed.elsewhere / "own.yml").write_text(
        yaml.safe_dump([{"hosts": "localhost", "roles": [f"{NAME}.key"], "gather_facts": False}])
    )
    ran = installed.run("ansible-playbook", "own.yml", "--inventory=hosts.yml", "--check", "--diff")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert str(installed.collections) not in ran.stdout
    assert "/var/lib/stiefelsystem" in ran.stdout or Path("/var/lib/stiefelsystem/key").exists()


@needs_root
def test_keys_that_were_made_in_a_tree_stay_in_use(installed: Installed, tmp_path: Path) -> None:
    """A tree that is used as before there was /var/lib/stiefelsystem: its sticks must go on working."""
    shutil.copytree(installed.collections, tmp_path / "collections")
    tree = tmp_path / "collections/ansible_collections/sft/stiefelsystem"
    (tree / "build/key").mkdir(parents=True)
    older = Installed(installed.archive, tmp_path / "collections", tmp_path)
    ran = older.play("site", "--tags=nothing", "--check")
    assert f"stay in {tree}/build" in " ".join(ran.stdout.split()), ran.stdout + ran.stderr


@needs_root
def test_an_inventory_without_laptops_is_an_error(installed: Installed) -> None:
    (installed.elsewhere / "empty.yml").write_text("ungrouped: {hosts: {localhost: {ansible_connection: local}}}\n")
    ran = installed.run("ansible-playbook", f"{NAME}.preflight", "--inventory=empty.yml")
    assert ran.returncode != 0
    assert "names no laptop" in ran.stdout
