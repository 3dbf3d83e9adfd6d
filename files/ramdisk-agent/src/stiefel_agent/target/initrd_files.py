"""Print the files that `import stiefel_agent.target.attach` needs, one path a line, for the target's initrd.

The list is what this very interpreter really loads, so it holds for any distribution's Python. Shared
libraries are left to the tool that copies the files. Run it with the initrd's options: python3 -I -S.
"""

import sys
from pathlib import Path
from types import ModuleType

import stiefel_agent.target.attach  # noqa: F401  (imported for what it loads)


def _files(module: ModuleType) -> set[Path]:
    """Return a module's source or shared object and its compiled form; nothing for a built-in."""
    found = {getattr(module, "__file__", None), getattr(getattr(module, "__spec__", None), "cached", None)}
    return {Path(name) for name in found if name and Path(name).is_file()}


def _landmark() -> set[Path]:
    """Return the smallest file of lib-dynload: the interpreter warns if that folder is not there (getpath.py)."""
    folders = [Path(entry) for entry in sys.path if entry.endswith("/lib-dynload")]
    files = [path for folder in folders for path in folder.iterdir()]
    return {min(files, key=lambda path: path.stat().st_size)} if files else set()


def initrd_files() -> list[Path]:
    """Return interpreter and modules, sorted; without this module and what only it is run by."""
    found = {Path(sys.executable), Path(sys.executable).resolve()} | _landmark()
    for name, module in list(sys.modules.items()):
        if name not in {"__main__", __name__}:
            found |= _files(module)
    return sorted(found)


def main() -> int:
    """Print the list."""
    print("\n".join(map(str, initrd_files())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
