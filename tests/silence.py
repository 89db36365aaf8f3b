"""Measures the longest silence of a command on a pseudo terminal.

    python -m tests.silence sparse-elsa segments my.index --output segments.json
"""

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Silence:
    """How long a command said nothing, at the most.

    Attributes
    ----------
    seconds : float
        Wall time.
    after, until : str
        The last line before, and the first one after.
    status : int
        The command's exit status; negative where a signal ended it.
    output : str
        All that it said.
    """

    seconds: float
    after: str
    until: str
    status: int
    output: str


def longest_silence(
    command: Sequence[str], environment: Mapping[str, str] | None = None, ends_at: Callable[[str], bool] | None = None
) -> Silence:
    """Run a command on a pseudo terminal, for its standard output and error alike.

    Parameters
    ----------
    command : list of str
        Program and arguments.
    environment : dict, optional
        Variables beside those of this process.
    ends_at : callable, optional
        Gets all that was said so far; the command is interrupted (SIGINT) as soon as it returns True.
    """
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))  # without rows no bar is drawn
    variables = {**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})}
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=variables, start_new_session=True
    )
    os.close(theirs)
    said, longest, place, last, interrupted = b"", 0.0, 0, time.monotonic(), False
    while True:
        ready, _, _ = select.select([ours], [], [], 0.2)
        silent = time.monotonic() - last
        if silent > longest and not interrupted:
            longest, place = silent, len(said)
        if not ready:
            if process.poll() is not None:
                break
            continue
        try:
            read = os.read(ours, 2**16)
        except OSError:  # Linux: the other end is closed
            break
        if not read:
            break
        said, last = said + read, time.monotonic()
        if ends_at is not None and not interrupted and ends_at(said.decode(errors="replace")):
            process.send_signal(signal.SIGINT)
            interrupted = True
    os.close(ours)
    after, until = (_lines(said[:place]) or [""])[-1], (_lines(said[place:]) or [""])[0]
    return Silence(longest, after, until, process.wait(), said.decode(errors="replace"))


def _lines(said):
    without_colours = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", said.decode(errors="replace"))
    return [line.strip() for line in re.split(r"[\r\n]", without_colours) if line.strip()]


def main() -> None:
    """Measure the command of the command line; with ``--until TEXT`` first, interrupt it when it says TEXT."""
    command, ends_at = sys.argv[1:], None
    if command[:1] == ["--until"]:
        text, command = command[1], command[2:]
        ends_at = lambda said: text in said  # noqa: E731
    silence = longest_silence(command, ends_at=ends_at)
    print(silence.output)
    between = f"after {silence.after!r}, until {silence.until!r}"
    print(f"Longest silence: {silence.seconds:.1f} s, {between}; exit status {silence.status}")


if __name__ == "__main__":
    main()
