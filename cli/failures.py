"""How a verb ends when it did not do what it was asked: one class for each exit status."""

import click

REFUSED = 1
WRONG_USAGE = 2
OUT_OF_REACH = 3


class Refusal(click.ClickException):
    """Refused or not found; the message says why and what can be done."""

    exit_code = REFUSED


class WrongSetting(click.ClickException):
    """A setting is wrong or missing; the message names the variable and what was expected."""

    exit_code = WRONG_USAGE


class OutOfReach(click.ClickException):
    """The server could not be reached or did not take the command."""

    exit_code = OUT_OF_REACH
