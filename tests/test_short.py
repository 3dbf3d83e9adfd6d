"""The short callback: what a person sees of a run, and what the log keeps."""

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

PLAY = """\
- hosts: localhost
  gather_facts: false
  tasks:
    - name: Look at something
      ansible.builtin.command: "true"
      changed_when: false
    - name: Change something
      ansible.builtin.command: "true"
      changed_when: true
    - name: Change something else
      ansible.builtin.command: "true"
      changed_when: true
    - name: Say something
      ansible.builtin.debug:
        msg: Forty-two.
    - name: Try what goes wrong
      block:
        - name: Fail at first
          ansible.builtin.command: sh -c 'echo raw words >&2; exit 1'
      rescue:
        - name: Say it better
          ansible.builtin.fail:
            msg: It went wrong. Try again.
          when: better | bool
"""


def environment(folder: Path) -> dict[str, str]:
    """Return what ./stiefel gives Ansible for the callback."""
    return os.environ | {
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_STDOUT_CALLBACK": "sft.stiefelsystem.short",
        "ANSIBLE_LOG_PATH": str(folder / "log"),
        "LC_ALL": "C.UTF-8",
    }


def play(folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """Run the play above with the callback."""
    (folder / "play.yml").write_text(PLAY)
    tools = Path(sys.executable).parent
    return subprocess.run(
        [tools / "ansible-playbook", "play.yml", *options], cwd=folder, env=environment(folder),
        text=True, capture_output=True, check=False, timeout=120,
    )  # fmt: skip


def test_only_changes_words_and_one_error_are_shown(tmp_path: Path) -> None:
    ran = play(tmp_path, "-ebetter=true")
    assert ran.returncode != 0
    lines = ran.stdout.splitlines()
    changes = [line for line in lines if "changed" in line]
    assert "Change something" in changes[0]
    assert len(changes) == 2 or changes[0].endswith("Change something, and 1 more")  # two if they took long
    assert "Forty-two." in lines
    assert len(lines) <= 6, "no headings: on a busy machine each of the steps may have taken long"
    assert ran.stderr.splitlines() == [
        "stiefel: It went wrong. Try again.",
        f"stiefel: the whole run is in {tmp_path}/log",
    ]
    log = (tmp_path / "log").read_text()
    for said in ("Look at something", "raw words", "ok=4"):
        assert said in log


def test_a_rescued_error_is_none_and_the_end_says_what_was_done(tmp_path: Path) -> None:
    ran = play(tmp_path, "-ebetter=false")
    assert ran.returncode == 0
    assert "raw words" not in ran.stdout + ran.stderr
    assert ran.stdout.splitlines()[-1].endswith("2 steps changed something.")


def test_of_several_laptops_each_is_named(tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(
        "- hosts: all\n  connection: local\n  gather_facts: false\n  tasks:\n"
        "    - ansible.builtin.debug: {msg: Nothing is in the way.}\n"
        "    - ansible.builtin.debug: {msg: [disk, kernel]}\n"
        "    - ansible.builtin.fail: {msg: No disk.}\n"
    )
    tools = Path(sys.executable).parent
    ran = subprocess.run(
        [tools / "ansible-playbook", "play.yml", "--inventory=anna,ben,"],
        cwd=tmp_path, env=environment(tmp_path), text=True, capture_output=True, check=False, timeout=120,
    )  # fmt: skip
    for said in ("anna: Nothing is in the way.", "ben: Nothing is in the way.", "anna:\ndisk\nkernel\n"):
        assert said in ran.stdout
    assert "stiefel: ben: No disk.\n" in ran.stderr


def test_verbose_shows_all(tmp_path: Path) -> None:
    ran = play(tmp_path, "-ebetter=true", "-v")
    for said in ("TASK [Look at something]", "raw words", "PLAY RECAP"):
        assert said in ran.stdout + ran.stderr


def test_a_check_says_for_each_role_what_would_change(tmp_path: Path) -> None:
    """However the roles take turns, each has one line, behind what is said meanwhile."""
    for role in "ab":
        (tmp_path / f"roles/{role}/tasks").mkdir(parents=True)
        (tmp_path / f"roles/{role}/tasks/main.yml").write_text(
            "".join(
                f"- name: Make {name}\n  ansible.builtin.file: {{path: {tmp_path}/{name}, state: directory}}\n"
                for name in (f"{role}1", f"{role}2")
            )
        )
    (tmp_path / "play.yml").write_text(
        "- hosts: localhost\n  gather_facts: false\n  tasks:\n"
        + "".join(f"    - ansible.builtin.include_role: {{name: {role}}}\n" for role in "aba")
        + "    - ansible.builtin.debug: {msg: Forty-two.}\n"
    )
    ran = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "play.yml", "--check"],
        cwd=tmp_path, env=environment(tmp_path), text=True, capture_output=True, check=False, timeout=120,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    said, first, second, end = ran.stdout.splitlines()
    assert said == "Forty-two."
    assert first == "would change a: Make a1; Make a2"
    assert second == "would change b: Make b1; Make b2"
    assert end.endswith("6 steps would change something.")


def test_a_command_that_fails_is_told_by_its_last_words() -> None:
    pytest.importorskip("ansible")
    sys.path.insert(0, str(ROOT / "plugins/callback"))
    from short import sentences

    failed = {"msg": "non-zero return code", "stderr_lines": ["warning: old", "E: no such package"]}
    assert list(sentences(failed)) == ["E: no such package"]
    assert list(sentences({"results": [{"msg": "fine"}, {"failed": True, "msg": "full"}]})) == ["full"]
    offline = "'apt-get -y' failed: E: Failed to fetch x.deb  Could not connect\nE: Unable to fetch some archives\n"
    assert list(sentences({"msg": offline})) == ["Failed to fetch x.deb  Could not connect"]


def test_a_terminal_sees_the_step_at_hand(tmp_path: Path) -> None:
    """A long step is shown while it runs, with its seconds and how far it is, in a line that its result replaces."""
    (tmp_path / "play.yml").write_text(
        "- hosts: localhost\n  gather_facts: false\n  tasks:\n"
        "    - name: Wait a little\n      changed_when: false\n"
        "      ansible.builtin.shell: echo '45 % of 9 MiB' >> $STIEFEL_PROGRESS; sleep 8\n"
    )
    leader, follower = os.openpty()
    run = subprocess.Popen(
        [Path(sys.executable).parent / "ansible-playbook", "play.yml"],
        cwd=tmp_path, env=environment(tmp_path), stdin=subprocess.DEVNULL, stdout=follower, stderr=follower,
    )  # fmt: skip
    os.close(follower)
    seen = b""
    with contextlib.suppress(OSError):  # EIO: the other end is closed
        while part := os.read(leader, 4096):
            seen += part
    os.close(leader)
    assert run.wait(120) == 0
    assert re.search(rb"\r\x1b\[K +\d+ s  Wait a little: \[#{9} {11}\] 45 % of 9 MiB\r\x1b\[K", seen)
    assert re.search(rb"\r\x1b\[K +\d+ s +Wait a little\r\n", seen)
