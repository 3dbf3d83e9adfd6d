"""What holds for the whole tree: documents that say what is so, and nothing committed that does not belong there."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import variable_docs as docs
import yaml
from conftest import ROOT

KEYLIKE = re.compile(rb'"(key|private_key|preshared_key|sealed)": *"[A-Za-z0-9+/]{43}="')
MACHINE_PATHS = re.compile(rb"/(?:tmp/w|work/main|root/\.pyenv|home/[a-z]+/(?:src|git|projects))/")


def committed() -> list[Path]:
    """Return the files that git knows, or would add."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    paths = (ROOT / name for name in listing.stdout.split("\0") if name)
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def test_documents_say_what_the_argument_specs_say() -> None:
    outdated = [str(path.relative_to(ROOT)) for path in docs.outdated()]
    assert not outdated, "run: .venv/bin/python tests/variable_docs.py --write"


@pytest.mark.parametrize("role", docs.roles())
def test_every_default_is_documented_and_right(role: str) -> None:
    defaults = ROOT / f"roles/{role}/defaults/main.yml"
    values = yaml.safe_load(defaults.read_text()) or {} if defaults.exists() else {}
    spec = yaml.safe_load((ROOT / f"roles/{role}/meta/argument_specs.yml").read_text())
    options = spec["argument_specs"].get("main", {}).get("options", {})
    assert set(values) <= set(options)
    literal = {name: value for name, value in values.items() if "{{" not in str(value)}
    assert literal == {name: options[name].get("default") for name in literal}


@pytest.mark.parametrize("role", docs.roles())
def test_a_role_s_variables_carry_its_name(role: str) -> None:
    spec = yaml.safe_load((ROOT / f"roles/{role}/meta/argument_specs.yml").read_text())
    names = spec["argument_specs"].get("main", {}).get("options", {})
    assert [name for name in names if not name.startswith((f"{role}_", "stiefel_"))] == []


@pytest.mark.parametrize("role", docs.roles())
def test_every_entry_point_is_described(role: str) -> None:
    specs = yaml.safe_load((ROOT / f"roles/{role}/meta/argument_specs.yml").read_text())["argument_specs"]
    assert [name for name, spec in specs.items() if not {"short_description", "description"} <= set(spec)] == []
    assert ("uninstall" in specs) == (ROOT / f"roles/{role}/tasks/uninstall.yml").exists()


@pytest.mark.parametrize("role", docs.roles()[1:])
def test_every_role_knows_the_shared_settings(role: str) -> None:
    meta = yaml.safe_load((ROOT / f"roles/{role}/meta/main.yml").read_text())
    assert meta["dependencies"] == [{"role": "stiefel"}]


@pytest.mark.parametrize("role", docs.roles())
def test_every_role_can_be_undone_and_is_described(role: str) -> None:
    readme = (ROOT / f"roles/{role}/README.md").read_text()
    assert "<!-- variables -->\n" in readme
    assert (ROOT / f"roles/{role}/tasks/uninstall.yml").exists() or not (ROOT / f"roles/{role}/tasks").exists()


def test_every_role_is_undone_by_the_uninstall_playbook() -> None:
    plays = yaml.safe_load((ROOT / "playbooks/uninstall.yml").read_text())
    undone = {role for play in plays for task in play.get("tasks", []) for role in task.get("loop", [])}
    assert undone == {path.parent.parent.name for path in ROOT.glob("roles/*/tasks/uninstall.yml")}


def test_a_person_who_is_not_root_can_run_every_role() -> None:
    """`copy` reads its src as whoever runs Ansible, without `become`: keys and sticks are root's alone."""
    files = [path for path in ROOT.glob("roles/*/tasks/*.yml") if "{{ stiefel_build_dir }}" in path.read_text()]
    copies = [task["ansible.builtin.copy"] for path in files for task in _tasks(path) if "ansible.builtin.copy" in task]
    read_by_the_person = [copy["src"] for copy in copies if "src" in copy and not copy.get("remote_src")]
    assert {src for src in read_by_the_person if "stiefel_build_dir" in src} <= {
        "{{ stiefel_build_dir }}/ramdisk/{{ item }}"
    }


def test_no_play_lets_ansible_look_at_the_hardware() -> None:
    """Among those facts are LVM's: asking vgs(8) for them writes /etc/lvm/backup, on a laptop that may be refused."""
    plays = [play for file in ROOT.glob("playbooks/*.yml") for play in yaml.safe_load(file.read_text())]
    asking = [play for play in plays if "hosts" in play and play.get("gather_facts", True)]
    assert asking
    assert [play["name"] for play in asking if play.get("gather_subset") != ["min"]] == []


def test_no_laptop_is_asked_for_facts_that_nobody_reads() -> None:
    """It takes a slow one ten seconds. What runs on the controller may read them."""
    plays = [play for file in ROOT.glob("playbooks/*.yml") for play in yaml.safe_load(file.read_text())]
    laptops = [play for play in plays if play.get("hosts") == "laptops"]
    assert len(laptops) == 4
    assert [play["name"] for play in laptops if play.get("gather_facts") is not False] == []


def test_every_debian_package_that_comes_with_us_is_noted_for_uninstall() -> None:
    files = [path for path in ROOT.glob("roles/*/tasks/*.yml") if path.parent.parent.name != "packages"]
    assert [str(path) for path in files for task in _tasks(path) if "ansible.builtin.apt" in task] == []


def test_what_is_built_from_settings_is_the_same_each_time() -> None:
    """difference() and its kin return a set's order, another one in each run: what is built of it is built anew."""
    files = [
        path for part in ("roles", "playbooks") for path in (ROOT / part).rglob("*") if path.suffix in (".yml", ".j2")
    ]
    unordered = re.compile(r"\b((symmetric_)?difference|union|intersect)\(")
    assert [str(path) for path in files if unordered.search(path.read_text())] == []


def _tasks(path: Path) -> list[dict[str, Any]]:
    """Return a file's tasks, those in blocks too."""
    tasks: list[dict[str, Any]] = []
    for task in yaml.safe_load(path.read_text()):
        tasks += [task, *task.get("block", [])]
    return tasks


def test_no_committed_file_holds_a_key() -> None:
    outside_tests = (path for path in committed() if "tests" not in path.parts)  # tests have fixed keys of their own
    assert [path for path in outside_tests if KEYLIKE.search(path.read_bytes())] == []


def test_no_committed_file_names_a_path_of_the_machine_it_was_written_on() -> None:
    this = Path(__file__)
    assert [path for path in committed() if path != this and MACHINE_PATHS.search(path.read_bytes())] == []


def test_no_large_or_built_file_is_committed() -> None:
    large = [path for path in committed() if path.stat().st_size > 1 << 20]
    built = [path for path in committed() if path.suffix in (".img", ".deb", ".qcow2", ".zst", ".pyc")]
    assert large + built == []


def test_relative_links_in_documents_lead_somewhere() -> None:
    broken = []
    for path in committed():
        if path.suffix != ".md":
            continue
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", path.read_text()):
            if not (path.parent / target).exists():
                broken.append(f"{path.relative_to(ROOT)}: {target}")
    assert broken == []


def test_collection_and_agent_have_one_version() -> None:
    collection = yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]
    agent = (ROOT / "files/ramdisk-agent/src/stiefel_agent/__init__.py").read_text()
    assert f'__version__ = "{collection}"' in agent


def test_requirements_are_pinned_and_hashed() -> None:
    needed, tests = ((ROOT / name).read_text() for name in ("requirements.txt", "requirements-test.txt"))
    pins = []
    for text in (needed, tests):
        releases = [line for line in text.splitlines() if line and not line.startswith(("#", "    --hash=sha256:"))]
        assert [line for line in releases if not re.fullmatch(r"[\w.-]+==[\w.]+( ; .*)? \\", line)] == []
        pins.append({line.split()[0] for line in releases})
    assert pins[0] <= pins[1], "the tests' .venv serves every other command, too"
