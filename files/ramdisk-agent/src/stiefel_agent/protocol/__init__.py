"""Pure: bytes and time come in, bytes and decisions go out. No socket, no clock, no process."""
