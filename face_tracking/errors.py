# SPDX-License-Identifier: Apache-2.0
"""The one error type that is meant for a person to read."""


class UserError(Exception):
    """Something the user can mend.

    Nodes log it in one line and stay up where they can; commands print it and exit with 2.

    :param problem: what is wrong, without a full stop.
    :param remedy: what to do about it, as an imperative; may be empty where nothing can be done.
    """

    def __init__(self, problem: str, remedy: str = ''):
        super().__init__(problem, remedy)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        text = f'{self.problem}: {self.remedy}' if self.remedy else self.problem
        return ' '.join(text.split())
