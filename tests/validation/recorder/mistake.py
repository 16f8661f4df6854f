# SPDX-License-Identifier: GPL-2.0-only
"""What is wrong with what the user gave, or with what a program that was called did with it."""


class Mistake(Exception):
    """One message: which argument or step, what must hold, what was found."""
