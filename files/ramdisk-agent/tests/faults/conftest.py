"""Each test of a fault has a bench of its own."""

import os
import shutil
from collections.abc import Iterator

import pytest
from bench import NEEDED, Bench
from nbd_kernel import Load


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave this folder's tests out, by name, where the bench cannot be built."""
    missing = [program for program in NEEDED if not shutil.which(program)]
    reason = "namespaces need root" if os.geteuid() else f"not installed: {', '.join(missing)}"
    if os.geteuid() or missing:
        for item in items:
            if "bench" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    Load.stood_still = 0.0
    with Bench() as built:
        yield built
    if Load.stood_still:
        request.node.user_properties.append(("figure", f"{Load.stood_still:.1f} s"))
