"""No secret gets into a log by being part of an object that somebody prints."""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import Field, fields, is_dataclass

import stiefel_agent

SECRET = re.compile(r"secret(?!s$)|private|preshared|token|passphrase|_key$|^export$|^extra$")
PUBLIC = re.compile(r"public")


def named_like_secrets() -> Iterator[tuple[str, Field[object]]]:
    """Yield every field of the agent's dataclasses that holds a secret, by its name."""
    for module in pkgutil.walk_packages(stiefel_agent.__path__, "stiefel_agent."):
        for name, made in vars(importlib.import_module(module.name)).items():
            if isinstance(made, type) and is_dataclass(made) and made.__module__ == module.name:
                for field in fields(made):
                    if SECRET.search(field.name) and not PUBLIC.search(field.name):
                        yield f"{module.name}.{name}.{field.name}", field


def test_fields_that_hold_a_secret_are_left_out_of_repr() -> None:
    found = dict(named_like_secrets())
    assert [name for name, field in found.items() if field.repr] == []
    assert {name.rpartition(".")[2] for name in found} >= {
        "secret",
        "laptop_private",
        "release_token",
        "export",
        "extra",
    }
