"""A laptop's TPM 2.0: swtpm(8), whose secrets are files in a folder, so that an image has its own."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from .shell import LabError, run

START_SECONDS = 30.0


@dataclass(frozen=True)
class Tpm:
    """The secrets in `folder`, behind a socket for QEMU."""

    folder: Path
    socket: Path

    @property
    def arguments(self) -> list[str]:
        """QEMU's, for a machine that has it."""
        chip = ["-tpmdev", "emulator,id=tpm,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm"]
        return ["-chardev", f"socket,id=tpm,path={self.socket}", *chip]

    def start(self, lifetime_seconds: int) -> None:
        """Switch it on, for so long at most; it ends with the machine that takes it. Raises LabError."""
        command = ["timeout", str(lifetime_seconds), *self._swtpm(f"type=unixio,path={self.socket}"), "--terminate"]
        self._await(subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True))

    def bind(self, luks: Path, passphrase: str) -> None:
        """Let it open a LUKS2 device besides the passphrase, whatever the machine has started with. Raises LabError."""
        data = ["--server", f"type=unixio,path={self.socket}", "--flags=startup-clear"]
        command = [*self._swtpm(f"type=unixio,path={self.socket}.ctrl"), *data]  # the names that tpm2-tss expects
        server = subprocess.Popen(command, stderr=subprocess.DEVNULL)  # a line for each time that it is spoken to
        try:
            self._await(server)
            enroll = ["systemd-cryptenroll", f"--tpm2-device=swtpm:path={self.socket}", "--tpm2-pcrs="]
            run([*enroll, luks], env=os.environ | {"PASSWORD": passphrase})
        finally:
            server.terminate()
            server.wait()

    def _swtpm(self, control: str) -> list[str]:
        self.folder.mkdir(exist_ok=True)
        self.socket.unlink(missing_ok=True)
        return ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.folder.resolve()}", "--ctrl", control]

    def _await(self, server: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self.socket.exists():
            if server.poll() is not None or time.monotonic() > deadline:
                raise LabError(f"there is no TPM: swtpm ended with {server.returncode}")
            time.sleep(0.05)
