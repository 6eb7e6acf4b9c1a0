"""The one kind of failure that a learner sees: what happened, where, and what to type next."""

from __future__ import annotations


class LabError(Exception):
    """Something outside the program went wrong, and a person can act on it.

    `what` is a sentence. `try_next` is a command or a sentence that says how to go on.
    """

    def __init__(self, what: str, try_next: str = "make doctor") -> None:
        super().__init__(what)
        self.what = what
        self.try_next = try_next

    def __str__(self) -> str:
        return f"{self.what}\n  try: {self.try_next}"
