"""What tells one desktop from another, and what makers only forgot to fill in."""

from pathlib import Path

import pytest

from stiefel_agent.machine.firmware import identity, model


def dmi(folder: Path, **fields: str) -> Path:
    for name, value in fields.items():
        (folder / name).write_text(f"{value}\n")
    return folder


def test_serial_numbers_and_uuid_together_are_the_identity(tmp_path: Path) -> None:
    found = identity(dmi(tmp_path, product_uuid="4c4c4544-0037-4d10-8052-b4c04f4e5132", product_serial="7M7RNQ2"))
    assert found == "product_uuid=4c4c4544-0037-4d10-8052-b4c04f4e5132\nproduct_serial=7M7RNQ2"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "To be filled by O.E.M.",
        "Default string",
        "Not Specified",
        "System Serial Number",
        "0",
        "0123456789",
        "123456789",
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "03000200-0400-0500-0006-000700080009",
        "XXXXXXXXXX",
    ],
)
def test_what_stands_in_many_machines_tells_none_apart(tmp_path: Path, value: str) -> None:
    assert identity(dmi(tmp_path, product_uuid=value, product_serial=value, board_serial=value)) == ""


def test_a_machine_without_dmi_has_neither_name_nor_identity(tmp_path: Path) -> None:
    assert (model(tmp_path), identity(tmp_path)) == ("", "")


def test_a_model_is_vendor_and_product(tmp_path: Path) -> None:
    assert model(dmi(tmp_path, sys_vendor="Dell Inc.", product_name="OptiPlex 7050")) == "Dell Inc. OptiPlex 7050"
