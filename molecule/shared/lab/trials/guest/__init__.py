"""Programs that are handed to a machine and run there, with its own Python: none may import anything of the lab."""

from pathlib import Path


def program(name: str) -> Path:
    """The file of one of them."""
    return Path(__file__).with_name(f"{name}.py")
