"""What the firmware says about this machine (SMBIOS, DSP0134): what people call it, and what tells it from others."""

from pathlib import Path

from stiefel_agent.machine import sysfs

DMI = Path("/sys/class/dmi/id")
BY_ID = Path("/dev/disk/by-id")
"""Names of disks that hold their serial numbers."""
_NAMES = ("sys_vendor", "product_name")
_UNIQUE = ("product_uuid", "product_serial", "board_serial")
_EXAMPLES = frozenset({"03000200040005000006000700080009"})
"""UUIDs that makers of boards forgot to change, without dashes: American Megatrends' example."""


def model(dmi: Path = DMI) -> str:
    """Return vendor and product, empty where the firmware says nothing."""
    return " ".join(filter(None, (sysfs.read(dmi / name) for name in _NAMES)))


def _tells_apart(value: str) -> bool:
    """Say whether a maker filled a field in: "To be filled by O.E.M.", "0123456789" and zeros are in many machines."""
    bare = "".join(filter(str.isalnum, value)).lower()
    counts = "0123456789" * 2
    return any(map(str.isdigit, bare)) and len(set(bare)) > 2 and bare not in counts and bare not in _EXAMPLES


def laptop(disk: str, dmi: Path = DMI) -> str:
    """Return what only this laptop with this disk (a path) has, empty if there is nothing."""
    return "\n".join(filter(None, (disk if disk.startswith(f"{BY_ID}/") else "", identity(dmi))))


def identity(dmi: Path = DMI) -> str:
    """Return what only this machine has (UUID and serial numbers, root reads them), empty if there is nothing."""
    values = {name: sysfs.read(dmi / name) for name in _UNIQUE}
    return "\n".join(f"{name}={value}" for name, value in values.items() if _tells_apart(value))
