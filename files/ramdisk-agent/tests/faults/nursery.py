"""The nursery: one process with the agent loaded, from which the machines of the bench are forked.

To start Python and load the agent takes longer than all else that becomes of a machine in most tests. It is started
once for all tests (by each of pytest's workers), has loaded what roles.py needs, and has changed nothing of it.

Its standard input is a socket: for each message `[folder, terminal, disk]` with two descriptors, it answers with the
process id of a new machine's PID 1, whose standard input and output they are. It ends with whoever started it.
"""

import ctypes
import importlib
import json
import os
import signal
import socket
import sys

import pid1

from stiefel_agent import cli

CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET = 0x00020000, 0x20000000, 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def demand(result):
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def bear(request, streams):
    """Return the process id of a new machine: the first of a namespace of processes of its own."""
    demand(_libc.unshare(CLONE_NEWPID))
    child = os.fork()
    if not child:
        pid1.become(lambda: live(*request), *streams, sys.stderr.fileno())
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)  # our next child is to be a first one again
    demand(_libc.setns(own, CLONE_NEWPID))
    os.close(own)
    return child


def live(*request):
    demand(_libc.unshare(CLONE_NEWNS | CLONE_NEWNET))
    pid1.main(*request)


def main():
    for room in cli.ROLES.values():
        importlib.import_module(room)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    control = socket.socket(fileno=os.dup(0))
    while True:
        told, streams, _, _ = socket.recv_fds(control, 4096, 2)
        if not told:
            return
        control.send(str(bear(json.loads(told), streams)).encode())
        for stream in streams:
            os.close(stream)


if __name__ == "__main__":
    main()
