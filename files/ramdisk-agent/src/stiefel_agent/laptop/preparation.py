"""The server is loaded while the countdown runs, so that the move itself costs the shutdown alone.

A system that is loaded is started by the next reboot, whoever asks for that (systemctl(1)): it stays loaded only as
long as a desktop waits for this laptop. A mark below /run outlives a service that was killed meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

MARK = Path("/run/stiefel/loaded")


class Preparation:
    """What is, or will be, loaded; `load` may raise, which is told by `finish`."""

    def __init__(self, load: Callable[[], None], unload: Callable[[], None], mark: Path = MARK) -> None:
        self._load, self._unload, self._mark = load, unload, mark
        self._pool = ThreadPoolExecutor(1)
        self._loading: Future[None] | None = None
        self._unload_marked()

    def begin(self) -> Future[None]:
        """Begin to load, if that was not begun; nothing is waited for."""
        self._loading = self._loading or self._pool.submit(self._load_marked)
        return self._loading

    def finish(self) -> None:
        """Return when it is loaded, to be started now: it stays so. Raises what loading raises."""
        try:
            self.begin().result()
        except Exception:
            self._loading = None
            raise
        self._loading = None
        self._mark.unlink(missing_ok=True)

    def forget(self) -> None:
        """See that nothing stays loaded; nothing is waited for."""
        if self._loading:
            self._loading = None
            self._pool.submit(self._unload_marked)  # after the loading: there is one thread

    def close(self) -> None:
        """See that nothing stays loaded but what `finish` has let go, here or in another process."""
        self.forget()
        self._pool.shutdown()

    def _load_marked(self) -> None:
        self._mark.parent.mkdir(mode=0o755, exist_ok=True)
        self._mark.touch()
        try:
            self._load()
        except Exception:
            self._mark.unlink()
            raise

    def _unload_marked(self) -> None:
        if self._mark.exists():
            self._unload()
            self._mark.unlink()
