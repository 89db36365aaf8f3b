"""Counts the tries and the failures of every attack, and prints the table at the end of a run."""

import contextlib

import pytest
from tabulate import tabulate

_attacks = []


class Attack:
    """Tries of one kind, of which all are made, whatever comes of the first."""

    def __init__(self, what):
        self.what, self.tries, self.failures = what, 0, []

    @contextlib.contextmanager
    def one(self, which):
        """A try, which has failed if it raises anything; ``which`` is what makes it again."""
        self.tries += 1
        try:
            yield
        except (KeyboardInterrupt, pytest.skip.Exception):
            raise
        except BaseException as error:  # also a panic of a library in Rust
            self.failures.append(f"{which}: {type(error).__name__}: {str(error)[:500]}")


@pytest.fixture
def attack():
    """Begins an attack, and ends with an error if a try has failed."""

    @contextlib.contextmanager
    def begin(what):
        begun = Attack(what)
        _attacks.append(begun)
        yield begun
        shown = "\n".join(begun.failures[:20])
        assert not begun.failures, f"{len(begun.failures)} of {begun.tries} tries failed\n{shown}"

    return begin


def pytest_terminal_summary(terminalreporter):
    if _attacks:
        rows = [(attack.what, f"{attack.tries:,}", len(attack.failures)) for attack in _attacks]
        terminalreporter.section("attacks")
        terminalreporter.write_line(tabulate(rows, headers=("what", "tries", "failures"), tablefmt="github"))
