"""A desktop's notifications without a program: D-Bus on the session's own socket, as much as one message takes.

Sources: D-Bus Specification 0.43 ("Message Protocol", "Authentication Protocol"), Desktop Notifications
Specification 1.3.
"""

import socket
import struct
from collections.abc import Iterator

_NAME = "Stiefelsystem"
_CALL, _RETURN = 1, 2
_NO_AUTO_START = 2
"""Nobody starts a program for it: that would come from the disk."""
_PATH, _INTERFACE, _MEMBER, _REPLY_SERIAL, _DESTINATION, _SIGNATURE = 1, 2, 3, 5, 6, 8
_HELLO, _NOTIFY = 1, 2
"""Serial numbers of our two messages."""
_NORMAL, _CRITICAL = 1, 2
_NEVER, _SHORTLY = 0, 10_000
"""When the notification goes by itself, in milliseconds; it is the desktop's to obey."""
LONGEST_ANSWER = 65536


def notify(bus: socket.socket, user: int, text: str, *, replaces: int = 0, lasting: bool = True) -> int:
    """Show a text on the desktop whose session bus this is, as its user, whose process this must be.

    replaces: the number of a notification whose place it takes, if it is still there; lasting: it stays until a person
    takes it away, or another one its place.

    Returns:
        the notification's number; 0: nobody shows notifications there.

    Raises:
        OSError: the bus does not answer, within the socket's time.
    """
    bus.sendall(b"\0AUTH EXTERNAL " + str(user).encode().hex().encode() + b"\r\n")
    if not bus.recv(512).startswith(b"OK "):
        raise ConnectionRefusedError("the session bus does not take us for its user")
    bus.sendall(b"BEGIN\r\n" + hello() + notification(text, replaces, lasting))
    answers = b""
    while chunk := bus.recv(LONGEST_ANSWER):
        answers += chunk
        for kind, serial, body in _messages(answers):
            if serial == _NOTIFY:
                return int.from_bytes(body[:4], "little") if kind == _RETURN else 0
        if len(answers) > LONGEST_ANSWER:
            break
    raise ConnectionResetError("the session bus did not answer")


def hello() -> bytes:
    """Return the message that everybody on a bus begins with."""
    return _call(_HELLO, "org.freedesktop.DBus", "Hello")


def notification(text: str, replaces: int, lasting: bool) -> bytes:
    """Return the message that asks for a notification."""
    urgency, until = (_CRITICAL, _NEVER) if lasting else (_NORMAL, _SHORTLY)
    hints = _string("urgency") + b"\1y\0" + bytes([urgency])
    body = _aligned(
        *((4, _string(_NAME)), (4, struct.pack("<I", replaces)), (4, _string("")), (4, _string(_NAME))),
        *((4, _string(text)), (4, bytes(4)), (4, struct.pack("<I", len(hints))), (8, hints)),
        (4, struct.pack("<i", until)),
    )
    return _call(_NOTIFY, "org.freedesktop.Notifications", "Notify", "susssasa{sv}i", body)


def _call(serial: int, interface: str, member: str, signature: str = "", body: bytes = b"") -> bytes:
    """Return a method call to the one whose name, and path, are its interface's."""
    path = "/" + interface.replace(".", "/")
    texts = ((_PATH, "o", path), (_INTERFACE, "s", interface), (_MEMBER, "s", member), (_DESTINATION, "s", interface))
    fields = [bytes([code, 1, ord(kind), 0]) + _string(text) for code, kind, text in texts]
    if signature:
        fields.append(bytes([_SIGNATURE, 1, ord("g"), 0, len(signature)]) + signature.encode() + b"\0")
    header = _aligned(*((8, one) for one in fields))
    fixed = struct.pack("<cBBBIII", b"l", _CALL, _NO_AUTO_START, 1, len(body), serial, len(header))
    return _aligned((1, fixed + header), (8, body))


def _string(text: str) -> bytes:
    raw = text.encode(errors="replace")
    return struct.pack("<I", len(raw)) + raw + b"\0"


def _aligned(*parts: tuple[int, bytes]) -> bytes:
    """Return the parts one after the other, each at a multiple of its alignment."""
    data = b""
    for alignment, raw in parts:
        data += bytes(-len(data) % alignment) + raw
    return data


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield kind, number of the message that is answered, and body of each whole message; a bus answers as it is asked:
    the lowest byte first.
    """
    while len(data) >= 16:
        kind, length, fields = data[1], *struct.unpack_from("<I4xI", data, 4)
        start = (16 + fields + 7) & ~7
        if len(data) < start + length:
            return
        yield kind, _reply_serial(data[16 : 16 + fields]), data[start : start + length]
        data = data[start + length :]


def _reply_serial(fields: bytes) -> int:
    """Return which message is answered; 0: none. Each field is its code, a signature of one letter, and a value."""
    at = 0
    while at + 8 <= len(fields):
        code, kind = fields[at], chr(fields[at + 2])
        (number,) = struct.unpack_from("<I", fields, at + 4)
        if code == _REPLY_SERIAL:
            return int(number)
        size = {"u": 4, "g": fields[at + 4] + 2}.get(kind, 4 + number + 1)
        at = (at + 4 + size + 7) & ~7
    return 0
