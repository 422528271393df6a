"""Expected failures: worded for the person on call, with the exit code the shell sees.

A message says what was found and what was wanted, in lower case and without a full stop; `hint` says
what to do next. A failed check is a verdict (a value), never one of these.
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every `siaga` command. Stable; never reused."""

    DONE = 0
    DOES_NOT_HOLD = 1
    USAGE = 2
    UNDETERMINED = 3
    REFUSED = 4
    UNREACHABLE = 5


class SiagaError(Exception):
    """An expected failure; subclasses fix the exit code."""

    exit_code: Exit = Exit.UNDETERMINED

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}"


class BadInput(SiagaError):
    """Wrong usage or configuration: nothing was changed."""

    exit_code = Exit.USAGE


class Refused(SiagaError):
    """A rule says no (last node, fence, window, approval)."""

    exit_code = Exit.REFUSED


class Unreachable(SiagaError):
    """Somebody we need does not answer."""

    exit_code = Exit.UNREACHABLE


class PlatformFault(SiagaError):
    """The embedded platform could not be brought to the state asked for."""

    exit_code = Exit.DOES_NOT_HOLD


class StoreFault(Exception):
    """A store can't carry out a call now, in words; whether it carried out the last one is not known."""
