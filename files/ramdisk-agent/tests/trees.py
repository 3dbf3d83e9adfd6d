"""Recorded trees of /sys, /run and /etc: what a machine's files said, as text."""

from pathlib import Path


def plant(root: Path, files: dict[str, str]) -> Path:
    """Write the files of a tree below `root`, by path; return `root`."""
    for path, content in files.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content + "\n")
    return root


def supply(name: str, **attributes: object) -> dict[str, str]:
    """Return the files of a power supply."""
    return {f"sys/class/power_supply/{name}/{key}": str(value) for key, value in attributes.items()}


def wired(name: str, **attributes: object) -> dict[str, str]:
    """Return the files of a wired interface that is up and has a carrier, unless said otherwise."""
    said = {
        "type": 1,
        "flags": "0x1003",
        "carrier": 1,
        "speed": 1000,
        "device/vendor": "0x8086",
        "statistics/rx_bytes": 5000,
        "statistics/tx_bytes": 7000,
        **attributes,
    }
    return {f"sys/class/net/{name}/{key}": str(value) for key, value in said.items()}


def tunnel(received: int, sent: int) -> dict[str, str]:
    """Return the files of the session's tunnel."""
    said = {"type": 65534, "flags": "0x10091", "carrier": 1, "speed": -1}
    counted = {"statistics/rx_bytes": received, "statistics/tx_bytes": sent}
    return {f"sys/class/net/stiefeltunnel/{key}": str(value) for key, value in {**said, **counted}.items()}
