"""What may take long: done one after the other beside the loop, which hears of each outcome when it is there.

A systemd that does not answer, or a disk that takes its time, freezes neither screen nor keys.
"""

from __future__ import annotations

import os
import selectors
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, NoReturn, TypeVar

Outcome = TypeVar("Outcome")


class Errands:
    """One thread that runs errands in the order they were sent; `selector` is the loop's."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._sent: SimpleQueue[tuple[Callable[[], Any], Callable[[Any], None]]] = SimpleQueue()
        self._done: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.under_way = 0
        """How many have been sent whose outcome the loop has not heard yet."""
        selector.register(self._bell, selectors.EVENT_READ, self._hear)
        # A daemon: an errand that never ends must not keep the laptop from going home.
        threading.Thread(target=self._run, daemon=True).start()

    def send(self, errand: Callable[[], Outcome], then: Callable[[Outcome], None]) -> None:
        """Run `errand` beside the loop, then tell `then` its outcome, in the loop; what it raises is raised there."""
        self.under_way += 1
        self._sent.put((errand, then))

    def _run(self) -> None:
        while True:
            errand, then = self._sent.get()
            try:
                self._done.put(partial(then, errand()))
            except Exception as error:  # the loop's to judge, as if it had done this itself
                self._done.put(partial(_raise, error))
            os.eventfd_write(self._bell, 1)

    def _hear(self, _: int) -> None:
        for _ in range(os.eventfd_read(self._bell)):
            self.under_way -= 1
            self._done.get()()


def _raise(error: Exception) -> NoReturn:
    raise error
