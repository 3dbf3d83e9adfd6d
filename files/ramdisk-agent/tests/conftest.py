"""Settings of the whole test run."""

from collections.abc import Iterator

import pytest
from exchange import namespaces
from hypothesis import HealthCheck, settings

# A busy machine is no failure: no test's verdict may depend on how long it took.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture
def cable() -> Iterator[tuple[str, str]]:
    """Two namespaces, the laptop's and the desktop's, and a cable between them."""
    with namespaces() as both:
        yield both
