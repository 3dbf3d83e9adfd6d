"""The virtual lab: a laptop and a desktop in QEMU, joined by a cable, from power-on to login.

Nothing here is booted with ``-kernel``: the laptop's disk has its own boot loader, the desktop has only the
stick. ``python3 -m lab --help`` shows what a person can do with it; docs/testing.md tells the story.
"""
