"""Print the files that `import stiefel_agent.target.attach` needs, one path a line, for the target's initrd.

The list is what this very interpreter really loads, so it holds for any distribution's Python. With --libraries: the
shared libraries that these are linked to, for tools that do not copy them along, and to see whether they are there.
Run it with the initrd's options: python3 -I -S.
"""

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import stiefel_agent.target.attach  # noqa: F401  (imported for what it loads)
from stiefel_agent.machine import program


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


def libraries(files: Iterable[Path]) -> list[Path]:
    """Return what interpreter and modules among these are linked to, as ldd(1) says it, sorted."""
    linked = [str(path) for path in files if path.suffix not in {".py", ".pyc"}]
    said = program.run("ldd", *linked).stdout
    return sorted({Path(path) for path in re.findall(r"=> (/\S+)", said)})


def main() -> int:
    """Print the list."""
    files = initrd_files()
    print("\n".join(map(str, libraries(files) if "--libraries" in sys.argv else files)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
