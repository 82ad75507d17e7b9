"""Runs commands on a terminal, as a user does."""

import os
import pty
import re
import subprocess
import termios


def on_terminal(*words: str, answer: str = "", columns: int = 80) -> tuple[int, str]:
    """Run a command on a terminal and *answer* its question; return its exit code and what it showed."""
    environment = {**os.environ, "TERM": "xterm"}
    environment.pop("COLUMNS", None)
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, columns))
    process = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown, answered = b"", not answer
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # it has ended
            break
        shown += part
        if not answered and b"[y/N]" in shown:
            os.write(ours, answer.encode())
            answered = True
    os.close(ours)
    return process.wait(), re.sub(r"\x1b\[[0-9;]*m", "", shown.decode().replace("\r\n", "\n"))
