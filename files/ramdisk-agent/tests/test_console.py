"""What a message looks like to the person in front of the machine, and to programs."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from stiefel_agent.face.console import look

SOURCE = Path(__file__).parents[1] / "src"
LONG = "The laptop does not answer, and nothing is known of it but that its cable is in and that it was there before."


def plain(shown: str) -> list[str]:
    return re.sub(r"\x1b\[[0-9;]*m", "", shown).split("\r\n")


def test_a_message_looks_like_the_pages_and_fits_beside_the_name() -> None:
    lines = plain(look(LONG))
    assert lines[0] == lines[-1] == ""
    assert lines[1].startswith("  Stiefelsystem  The laptop does")
    assert all(line.startswith(" " * 17) for line in lines[2:-2])
    assert max(map(len, lines)) <= 78
    assert " ".join(line[17:] for line in lines if line) == LONG


def test_names_are_not_broken() -> None:
    name = "/dev/disk/by-id/" + "a-long-name-of-a-disk" * 4
    assert name in look(f"There is no {name} here.")


def test_what_is_wrong_has_another_colour() -> None:
    assert look("no", wrong=True) != look("no")
    assert plain(look("no", wrong=True)) == plain(look("no"))


def test_a_screen_gets_the_look_and_a_file_the_line() -> None:
    program = "from stiefel_agent.face import console; console.say('in plain words'); console.event('here', a=1)"
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    leader, follower = pty.openpty()
    subprocess.run([sys.executable, "-c", program], stderr=follower, check=True, env=environment)
    shown = os.read(leader, 4096).decode()
    assert "  Stiefelsystem  in plain words" in " ".join(plain(shown))
    assert "stiefel: event=here a=1" in shown
    os.close(leader)
    os.close(follower)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert done.stderr.splitlines()[0] == "[stiefel] in plain words"
