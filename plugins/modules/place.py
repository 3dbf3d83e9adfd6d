#!/usr/bin/python
# ruff: noqa: E402 - an Ansible module is documented before it imports anything
"""Put all the files of a role in place with one call; each call costs a slow laptop some seconds."""

from __future__ import annotations

DOCUMENTATION = """
module: place
short_description: Put many files in place, and take others away, with one call
version_added: 0.1.0
author: the Stiefelsystem authors
description:
  - Writes each file whole, where it is missing or differs in content or mode, and makes the folders on its way (0755).
    Owners are left as they are; what is new belongs to who runs the module.
  - Everything travels in the call itself. It is meant for programs and settings, not for images.
options:
  files:
    description: The files to have, each with one of C(src) and C(content).
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where it is to be.
        type: path
        required: true
      src:
        description:
          - A file of the role (in its C(files)), or any file of the controller that whoever runs Ansible may read.
          - A folder is mirrored; what is in C(path) besides, except C(__pycache__), is taken away.
        type: path
      content:
        description: What it is to hold. A dictionary is written as JSON.
        type: raw
      mode:
        description: Its mode in octal digits.
        type: str
        default: "0644"
      secret:
        description: Do not show what it holds in a diff.
        type: bool
        default: false
  absent:
    description: Files and folders that are not to be there.
    type: list
    elements: path
    default: []
  packed:
    description: What the files hold, as the controller sends it. Leave it out.
    type: str
attributes:
  check_mode:
    description: Says what would change and changes nothing.
    support: full
  diff_mode:
    description: Shows what changes in files that are text.
    support: full
"""

EXAMPLES = """
- name: Put a program and its settings in place
  sft.stiefelsystem.place:
    files:
      - {path: /usr/lib/example/run, src: run, mode: "0755"}
      - {path: /usr/lib/example/data, src: data}
      - {path: /etc/example.json, content: {speed: 3}}
    absent: [/etc/example.conf]
"""

RETURN = """
paths:
  description: What was written or taken away, or with C(--check) would be.
  type: list
  elements: str
  returned: always
"""

import base64
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

FOLDER_MODE = 0o755


@dataclass(frozen=True)
class File:
    """What is to be at a path."""

    path: Path
    content: bytes
    mode: int
    secret: bool = False

    def differs(self) -> bool:
        """Say whether it is not there as it should be."""
        try:
            there = self.path.stat(follow_symlinks=False)
            return there.st_mode != 0o100000 | self.mode or self.path.read_bytes() != self.content
        except (FileNotFoundError, NotADirectoryError):
            return True

    def write(self) -> None:
        """Put it in the place of what is there, whole or not at all."""
        make_folder(self.path.parent)
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=".stiefel-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(self.content)
                os.fchmod(handle, self.mode)
            Path(name).replace(self.path)
        except OSError:
            Path(name).unlink()
            raise

    def diff(self) -> dict[str, str]:
        """Return what Ansible shows of the change; call it before `write`."""
        there = self.path.stat(follow_symlinks=False).st_mode & 0o7777 if self.path.exists() else None
        before = "" if there is None else f"{self.path} ({there:04o})"
        shown = {"before_header": before, "after_header": f"{self.path} ({self.mode:04o})"}
        if self.secret:
            return shown | {"before": "", "after": "(what it holds is not shown)\n"}
        old = self.path.read_bytes() if self.path.is_file() else b""
        return shown | {"before": as_text(old), "after": as_text(self.content)}


def as_text(content: bytes) -> str:
    """Return what can be shown of a file's content."""
    return content.decode(errors="replace") if b"\0" not in content else f"({len(content)} bytes, not text)\n"


def make_folder(path: Path) -> None:
    """Make a folder and those above it, for everybody to read whatever the umask is."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir()
        path.chmod(FOLDER_MODE)


def unpack(packed: str) -> tuple[list[File], list[Path]]:
    """Return the files to have, and the folders that hold nothing else; see the action plugin."""
    sent = json.loads(zlib.decompress(base64.b64decode(packed)))
    files = [
        File(Path(one["path"]), base64.b64decode(one["content"]), int(one["mode"], 8), one["secret"])
        for one in sent["files"]
    ]
    return files, [Path(folder) for folder in sent["folders"]]


def strangers(folder: Path, files: list[File]) -> Iterator[Path]:
    """Yield what is in a mirrored folder and not among the files; a folder comes after what it holds."""
    wanted = {parent for file in files for parent in (file.path, *file.path.parents)}
    for found in sorted(folder.rglob("*"), reverse=True):
        if "__pycache__" not in found.parts and found not in wanted:
            yield found


def remove(path: Path) -> None:
    """Take away whatever is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def place(files: list[File], unwanted: list[Path], check: bool) -> tuple[list[str], list[dict[str, str]]]:
    """Write and take away what has to be; return the paths, and what to show of them."""
    paths, diffs = [], []
    for path in unwanted:
        if os.path.lexists(path):
            paths.append(str(path))
            diffs.append(
                {"before_header": str(path), "before": "there\n", "after_header": str(path), "after": "absent\n"}
            )
            if not check:
                remove(path)
    for file in files:
        if file.differs():
            paths.append(str(file.path))
            diffs.append(file.diff())
            if not check:
                file.write()
    return paths, diffs


def main() -> None:
    """Answer Ansible's call."""
    spec: dict[str, Any] = {
        "files": {"type": "list", "elements": "dict", "default": []},
        "absent": {"type": "list", "elements": "path", "default": []},
        "packed": {"type": "str", "no_log": True},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    try:
        files, folders = unpack(module.params["packed"])
        unwanted = [Path(path) for path in module.params["absent"]]
        unwanted += [path for folder in folders for path in strangers(folder, files)]
        paths, diffs = place(files, unwanted, module.check_mode)
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: {error.strerror}. What was put in place before it stays there.")
    else:
        module.exit_json(changed=bool(paths), paths=paths, diff=diffs)


if __name__ == "__main__":
    main()
