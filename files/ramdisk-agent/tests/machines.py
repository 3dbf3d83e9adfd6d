"""What tests with network namespaces share: a command that must succeed, and a laptop that only takes connections."""

import subprocess

LAPTOP = """
import socket
listener = socket.create_server(("::", 10809), family=socket.AF_INET6)
print("listening", flush=True)
while True:
    listener.accept()[0].close()
"""
"""A program: hands out nothing, but answers where the disk would be."""


def run(*command: str) -> str:
    """Return what a command prints; raises CalledProcessError."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
