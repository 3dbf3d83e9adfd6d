"""What laptop, ramdisk and target's initrd run. docs/architecture.md says how the rooms relate."""

__version__ = "0.1.0"
