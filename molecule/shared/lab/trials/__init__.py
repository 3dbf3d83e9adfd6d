"""What is done to the machines. A module that has `TRIALS` adds them to the lab's command line (see command.py)."""
