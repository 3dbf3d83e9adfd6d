"""The module `place`: a role's files are put in place with one call, and what it says of them is true."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, load_script

module = load_script("place_module", "plugins/modules/place.py")
action = load_script("place_action", "plugins/action/place.py")

ROLES = ("agent", "autokexec", "nbd_root", "network_unmanaged")
SECRET = "kept-to-itself"


def play(folder: Path, args: dict[str, Any], *options: str) -> "subprocess.CompletedProcess[str]":
    """Run the module on this machine."""
    task = {"name": "Put them in place", "sft.stiefelsystem.place": args}
    (folder / "play.yml").write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]))
    return subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "play.yml", "--diff", *options],
        cwd=folder, env=os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "LC_ALL": "C.UTF-8"},
        text=True, capture_output=True, check=False, timeout=300,
    )  # fmt: skip


def tree(folder: Path) -> dict[str, tuple[int, str]]:
    """Return mode and content of every file below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_mode & 0o7777, path.read_text()) for path in files}


def test_files_come_with_their_folders_once_and_check_tells_what_would_be_done(tmp_path: Path) -> None:
    (tmp_path / "source/deep").mkdir(parents=True)
    (tmp_path / "source/deep/one").write_text("1\n")
    (tmp_path / "program").write_text("run\n")
    there = tmp_path / "there"
    args = {
        "files": [
            {"path": f"{there}/bin/program", "src": str(tmp_path / "program"), "mode": "0755"},
            {"path": f"{there}/data", "src": str(tmp_path / "source")},
            {"path": f"{there}/settings.json", "content": {"b": 2, "a": [1]}},
            {"path": f"{there}/key", "content": SECRET, "mode": "0600", "secret": True},
        ],
        "absent": [f"{there}/old", f"{there}/never"],
    }  # fmt: skip
    (there / "old").mkdir(parents=True)
    checked = play(tmp_path, args, "--check", "-vvv")
    assert "changed=1" in checked.stdout, checked.stdout + checked.stderr
    assert '+    "b": 2' in checked.stdout
    assert SECRET not in checked.stdout + checked.stderr
    assert tree(there) == {}
    assert (there / "old").is_dir()

    assert "changed=1" in play(tmp_path, args).stdout
    assert tree(there) == {
        "bin/program": (0o755, "run\n"),
        "data/deep/one": (0o644, "1\n"),
        "settings.json": (0o644, json.dumps({"a": [1], "b": 2}, indent=4) + "\n"),
        "key": (0o600, SECRET),
    }
    assert (there / "bin").stat().st_mode & 0o777 == 0o755
    assert not (there / "old").exists()
    assert "changed=0" in play(tmp_path, args).stdout


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"path": "relative", "content": ""}, "path must be an absolute path"),
        ({"path": "/x"}, "it needs one of src and content"),
        ({"path": "/x", "content": "", "src": "y"}, "it needs one of src and content"),
        ({"path": "/x", "content": "", "mode": 0o644}, 'mode must be octal digits in quotes, such as "0755"'),
        ({"path": "/x", "content": "", "owner": "me"}, "there is no owner"),
    ],
)
def test_an_entry_that_cannot_be_is_refused(entry: dict[str, Any], told: str) -> None:
    assert action.refused(entry) == told


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    ran = play(tmp_path, {"files": [{"path": f"{tmp_path}/file/below", "content": ""}]})
    assert ran.returncode != 0
    assert f"{tmp_path}/file: " in ran.stdout
    assert "What was put in place before it stays there." in " ".join(ran.stdout.split())


def placed(entries: list[dict[str, Any]], check: bool = False) -> list[str]:
    """Let the two halves do their work without Ansible between them; return the paths that it tells of."""
    files, folders = module.unpack(action.pack(entries))
    unwanted = [path for folder in folders for path in module.strangers(folder, files)]
    paths: list[str] = module.place(files, unwanted, check)[0]
    return paths


def test_a_mirrored_folder_holds_nothing_of_an_earlier_version(tmp_path: Path) -> None:
    source, there = tmp_path / "source", tmp_path / "there"
    (source / "wing/__pycache__").mkdir(parents=True)
    (source / "wing/room.py").write_text("new")
    (source / "wing/__pycache__/room.pyc").write_text("compiled here")
    (there / "__pycache__").mkdir(parents=True)
    (there / "__pycache__/kept.pyc").write_text("compiled there")
    (there / "left").mkdir()
    (there / "left/room.py").write_text("old")
    entry = {"path": str(there), "src": str(source)}
    told = placed([entry], check=True)
    assert {str(Path(path).relative_to(there)) for path in told} == {"left", "left/room.py", "wing/room.py"}
    assert placed([entry]) == told
    assert sorted(tree(there)) == ["__pycache__/kept.pyc", "wing/room.py"]
    assert placed([entry]) == []


def test_content_mode_and_kind_all_count(tmp_path: Path) -> None:
    path = tmp_path / "file"
    entry = {"path": str(path), "content": "right", "mode": "0640"}
    for spoil in (path.touch, lambda: path.chmod(0o644), lambda: path.write_text("wrong"), path.unlink):
        spoil()
        assert placed([entry]) == [str(path)]
        assert tree(tmp_path) == {"file": (0o640, "right")}
    (tmp_path / "elsewhere").write_text("right")
    path.unlink()
    path.symlink_to("elsewhere")
    assert placed([entry]) == [str(path)], "what a link leads to is not ours"
    assert not path.is_symlink()


def test_a_file_that_is_no_utf8_gives_way(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes("Stra\u00dfe\n".encode("latin-1"))
    assert placed([{"path": str(path), "content": "right"}]) == [str(path)]
    assert path.read_text() == "right"


def named(role: str, name: str) -> list[dict[str, Any]]:
    """Return a list of a role's vars/main.yml."""
    found: list[dict[str, Any]] = yaml.safe_load((ROOT / f"roles/{role}/vars/main.yml").read_text())[name]
    return found


def variables(role: str) -> list[dict[str, Any]]:
    """Return every entry of `files` that a role's variables and tasks name, whatever tool they belong to."""
    documents = [yaml.safe_load(path.read_text()) for path in (ROOT / f"roles/{role}").glob("vars/*.yml")]
    values = [value for document in documents for value in document.values()]
    tasks = yaml.safe_load((ROOT / f"roles/{role}/tasks/main.yml").read_text())
    values += [task.get("sft.stiefelsystem.place", {}).get("files") for task in tasks]
    entries = [entry for value in values for entry in (value if isinstance(value, list) else [value])]
    return [entry for entry in entries if isinstance(entry, dict) and "path" in entry]


@pytest.mark.parametrize("role", ROLES)
def test_uninstall_takes_away_all_that_a_role_puts_in_place(role: str) -> None:
    tasks = yaml.safe_load((ROOT / f"roles/{role}/tasks/uninstall.yml").read_text())
    given = [args["absent"] for task in tasks if (args := task.get("sft.stiefelsystem.place"))]
    gone = [path for paths in given if isinstance(paths, list) for path in paths]
    for lists in (text for text in given if isinstance(text, str)):  # "{{ a list of the role | map(...) }}"
        gone += [entry["path"] for entry in named(role, lists.split()[1])]
    entries = variables(role)
    assert entries
    assert [path for entry in entries if not any(Path(path := entry["path"]).is_relative_to(one) for one in gone)] == []


@pytest.mark.parametrize("role", ROLES)
def test_every_source_is_there(role: str) -> None:
    sources = [entry["src"] for entry in variables(role) if "src" in entry and "{{" not in entry["src"]]
    assert [source for source in sources if not (ROOT / f"roles/{role}/files" / source).exists()] == []
