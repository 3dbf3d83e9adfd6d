"""The ramdisk on the laptop: one session, one disk, one desktop."""
