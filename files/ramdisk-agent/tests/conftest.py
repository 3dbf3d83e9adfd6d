"""Settings of the whole test run."""

from hypothesis import settings

# A busy machine is no failure: no test's verdict may depend on how long it took.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
