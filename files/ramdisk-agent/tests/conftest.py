"""Settings of the whole test run."""

from hypothesis import HealthCheck, settings

# A busy machine is no failure: no test's verdict may depend on how long it took.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
