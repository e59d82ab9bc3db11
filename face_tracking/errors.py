# SPDX-License-Identifier: Apache-2.0
"""Errors whose text is meant for the user."""

_LONGEST = 1000  # characters of a problem, which may quote what was received


class UserError(Exception):
    """A problem that the user can correct.

    Nodes log it in one line and keep running where they can; commands print it and exit with 2.

    :param problem: what is wrong, without a full stop.
    :param remedy: what to do about it, as an imperative; may be empty where nothing can be done.
    """

    def __init__(self, problem: str, remedy: str = ''):
        if len(problem) > _LONGEST:
            problem = f'{problem[:_LONGEST]}...'
        super().__init__(problem, remedy)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        text = f'{self.problem}: {self.remedy}' if self.remedy else self.problem
        return ' '.join(text.split())


class TransientError(UserError):
    """A problem that may disappear without any action: a full disk, a process that was killed.

    Trying again later is reasonable; nodes do so with growing pauses.
    """
