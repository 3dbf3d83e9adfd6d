"""The ramdisk on the desktop: find the laptop, receive its system, start it."""
