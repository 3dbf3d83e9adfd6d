"""What a virtual machine is: disk, firmware, cable, console, screen, and the folder that a run of them lives in.

Nothing here knows what is done to the machines: that is in `lab.trials`.
"""
