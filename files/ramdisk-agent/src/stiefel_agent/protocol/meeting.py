"""Where laptop and desktop meet, and how large all is that is said there. Without cryptography: for the target."""

PORT = 61570
"""UDP port of discovery and TCP port of the handshake: unassigned in IANA's registry's dynamic range."""
GROUP = "ff12::5354:4945:4645:4c"
"""The multicast group of beacons and questions: link-local scope, transient (RFC 4291 section 2.7)."""
DATAGRAM_SIZE = 192
"""Bytes of every datagram but probes and echoes, whatever its type: no answer is longer than its question."""
