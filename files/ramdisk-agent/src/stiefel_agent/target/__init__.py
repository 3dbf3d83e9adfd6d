"""The laptop's system on the desktop, before, below and after it: standard library only, no cryptography."""
