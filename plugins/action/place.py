"""The controller's half of the module `place`: it reads the role's files and sends them all in one call."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

KNOWN = {"path", "src", "content", "mode", "secret"}


def refused(entry: Mapping[str, Any]) -> str:
    """Return what is wrong with an entry of `files`, nothing if it is right."""
    if unknown := set(entry) - KNOWN:
        return f"there is no {', '.join(sorted(unknown))}"
    if not str(entry.get("path", "")).startswith("/"):
        return "path must be an absolute path"
    if ("src" in entry) == ("content" in entry):
        return "it needs one of src and content"
    mode = entry.get("mode", "0644")
    if not isinstance(mode, str) or not re.fullmatch(r"0[0-7]{3}", mode):
        return 'mode must be octal digits in quotes, such as "0755"'
    return ""


def as_bytes(content: Any) -> bytes:
    """Return what a file is to hold: text as it is, everything else as JSON."""
    text = content if isinstance(content, str) else json.dumps(content, indent=4, sort_keys=True) + "\n"
    return text.encode()


def below(source: Path) -> Iterator[tuple[str, bytes]]:
    """Yield relative path and content of each file in a folder, without what Python has compiled."""
    for file in sorted(source.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            yield str(file.relative_to(source)), file.read_bytes()


def pack(entries: list[Mapping[str, Any]]) -> str:
    """Return what the module unpacks; the entries' sources are found by now."""
    files, folders = [], []
    for entry in entries:
        path, source = Path(entry["path"]), Path(entry.get("src", ""))
        if "content" in entry:
            found = [(path, as_bytes(entry["content"]))]
        elif source.is_dir():
            folders.append(str(path))
            found = [(path / name, content) for name, content in below(source)]
        else:
            found = [(path, source.read_bytes())]
        shared = {"mode": entry.get("mode", "0644"), "secret": bool(entry.get("secret", False))}
        files += [{"path": str(at), "content": base64.b64encode(held).decode(), **shared} for at, held in found]
    return base64.b64encode(zlib.compress(json.dumps({"files": files, "folders": folders}).encode())).decode()


class ActionModule(ActionBase):  # type: ignore[misc]
    """Ansible's way to run it."""

    _requires_connection = True
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Read the sources, and let the module do the rest."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        if unknown := set(self._task.args) - {"files", "absent"}:
            raise AnsibleError(f"place: there is no {', '.join(sorted(unknown))}")
        try:
            packed = pack([self._found(entry) for entry in self._task.args.get("files", [])])
        except OSError as error:
            raise AnsibleError(f"place: {error.filename} cannot be read: {error.strerror}") from error
        args = {"absent": self._task.args.get("absent", []), "packed": packed}
        result.update(self._execute_module("sft.stiefelsystem.place", module_args=args, task_vars=task_vars))
        return result

    def _found(self, entry: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return an entry with the full path of its source."""
        if reason := refused(entry):
            raise AnsibleError(f"place: {entry.get('path', entry)}: {reason}")
        return entry if "src" not in entry else {**entry, "src": self._find_needle("files", entry["src"])}
