"""Run shellcheck on every shell file, and on every template that is shell but for its first comment."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHEBANG = re.compile(r"#!\s*/(usr/)?bin/(env )?(sh|bash|dash)\b")
MANAGED = "{{ ansible_managed | comment }}"


def shell_files() -> Iterator[Path]:
    """Yield the files that git knows, or would add, which start with a shell's name or end in .sh."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    for name in sorted(filter(None, listing.stdout.split("\0"))):
        path = ROOT / name
        if path.is_symlink() or not path.is_file():
            continue
        with path.open("rb") as file:
            start = file.readline().decode(errors="replace")
        if SHEBANG.match(start) or path.name.removesuffix(".j2").endswith(".sh"):
            yield path


def plain_shell(path: Path) -> str | None:
    """Return the file as shell, or None for a template with more Jinja in it than the managed-by comment."""
    text = path.read_text()
    if path.suffix != ".j2":
        return text
    text = text.replace(MANAGED, "#")
    return None if "{{" in text or "{%" in text else text


def check(path: Path, text: str) -> bool:
    """Return whether shellcheck likes it; what it says goes to our output, under the file's name."""
    done = subprocess.run(["shellcheck", "-"], input=text, cwd=path.parent, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{path.relative_to(ROOT)}:\n{done.stdout}{done.stderr}")
    return done.returncode == 0


def main() -> int:
    """Check all files; return 1 when one of them has a fault, or none was found."""
    verdicts = []
    for path in shell_files():
        text = plain_shell(path)
        if text is None:
            print(f"SKIPPED {path.relative_to(ROOT)}: a template that is not plain shell")
        else:
            verdicts.append(check(path, text))
    print(f"{len(verdicts)} shell files checked, {verdicts.count(False)} with faults")
    return 0 if verdicts and all(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
