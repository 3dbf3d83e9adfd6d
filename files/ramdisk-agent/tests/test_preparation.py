"""The server that is loaded during the countdown: there when it is needed, and gone when nobody waits for it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from stiefel_agent.errors import KexecRefused
from stiefel_agent.laptop.preparation import Preparation


class Kernel:
    """What is loaded, and how often that was done."""

    def __init__(self, mark: Path) -> None:
        self.mark, self.loaded, self.loads = mark, False, 0
        self.may_load = threading.Event()
        self.may_load.set()

    def load(self) -> None:
        assert self.may_load.wait(60)
        self.loads += 1
        self.loaded = True

    def unload(self) -> None:
        self.loaded = False

    def preparation(self) -> Preparation:
        return Preparation(self.load, self.unload, self.mark)


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path / "run/loaded")


def test_what_is_loaded_during_the_countdown_is_not_loaded_again_and_stays(kernel: Kernel) -> None:
    server = kernel.preparation()
    server.begin()
    server.finish()
    server.close()
    assert (kernel.loaded, kernel.loads) == (True, 1)


def test_without_a_countdown_it_is_loaded_when_it_is_needed(kernel: Kernel) -> None:
    server = kernel.preparation()
    server.finish()
    assert kernel.loaded


@pytest.mark.parametrize("end", [Preparation.forget, Preparation.close])
def test_what_is_forgotten_while_it_is_being_loaded_does_not_stay(kernel: Kernel, end: object) -> None:
    server = kernel.preparation()
    kernel.may_load.clear()
    server.begin()
    threading.Timer(0.1, kernel.may_load.set).start()
    end(server)  # type: ignore[operator]
    server.close()
    assert (kernel.loaded, kernel.loads) == (False, 1)


def test_after_a_no_it_can_be_loaded_again(kernel: Kernel) -> None:
    server = kernel.preparation()
    server.begin()
    server.forget()
    server.finish()
    server.close()
    assert (kernel.loaded, kernel.loads) == (True, 2)


def test_what_cannot_be_loaded_is_told_and_tried_again_next_time(kernel: Kernel) -> None:
    def refuse() -> None:
        raise KexecRefused("the signature is missing")

    server = Preparation(refuse, kernel.unload, kernel.mark)
    server.begin()
    for _ in range(2):
        with pytest.raises(KexecRefused, match="signature"):
            server.finish()
    assert not kernel.mark.exists()


def test_what_a_killed_service_has_left_loaded_is_unloaded_by_the_next(kernel: Kernel) -> None:
    kernel.preparation().begin().result()
    kernel.preparation()
    assert not kernel.loaded


def test_a_person_s_own_move_is_not_undone_by_the_service_s_end(kernel: Kernel) -> None:
    service = kernel.preparation()
    service.begin().result()
    kernel.preparation().finish()
    service.close()
    assert kernel.loaded
