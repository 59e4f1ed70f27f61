"""Everything a user can cause, as exceptions with one sentence each.

A message says where, what was got, what was expected and how to fix it. The command line prints
it as one line; it never shows a traceback for these.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class HarnessError(Exception):
    """Base of all errors that a user, their files or their machine can cause."""


class ConfigError(HarnessError):
    """A setting, a search space or a command-line option is wrong."""


class DataError(HarnessError):
    """Real images or a distilled set are missing, corrupt or do not fit."""


class DivergedError(HarnessError):
    """Training produced a non-finite number: a result to record, not a crash."""


class ResultError(HarnessError):
    """A result folder is corrupt, or belongs to something else."""


def suggest(name: str, known: Iterable[str]) -> str:
    """Return the tail of a message about an unknown name: the nearest known one, then all.

    Args:
        name: What the user wrote.
        known: Every legal name.

    Returns:
        For example ``"did you mean 'ipc'? known: ipc, iterations, method"``.
    """
    names = sorted(known)
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"{hint}known: {', '.join(names)}"
