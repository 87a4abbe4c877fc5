"""The command's entry: which verbs there are; each lives in a module that is imported only when it is called."""

import importlib
from collections.abc import Mapping
from typing import NamedTuple

import click

from rewardpost import __version__


class Verb(NamedTuple):
    """Where a verb is implemented, and its line in the overview."""

    module: str
    attribute: str
    help: str


SECTIONS: Mapping[str, Mapping[str, Verb]] = {
    "Start": {
        "dev": Verb("cli.dev", "dev", "Run everything on this machine, with a server of its own and the sample."),
        "send": Verb("cli.send", "send", "Send a signed webhook: a file, or the sample."),
        "doctor": Verb("cli.doctor", "doctor", "Check settings, server, provider and addresses; say what to do."),
    },
    "Look": {
        "list": Verb("cli.overview", "list_rewards", "List rewards: those under way, or those in given states."),
        "show": Verb("cli.overview", "show", "Tell the whole story of one reward."),
        "stats": Verb("cli.overview", "stats", "Count what waits, runs, and is where."),
        "audit": Verb("cli.audit", "audit", "Compare with Voucherify and the provider now; mend what is amiss."),
    },
    "Pack by hand": {
        "packing-list": Verb("cli.packing", "packing_list", "List what is to be packed; also as CSV."),
        "import-tracking": Verb("cli.packing", "import_tracking", "Note tracking numbers out of a CSV file."),
    },
    "Act on a reward": {
        "shipped": Verb("cli.rewards", "shipped", "Note that the parcel left, with its tracking number."),
        "set-address": Verb("cli.rewards", "set_address", "Give a reward the address it waits for."),
        "retry": Verb("cli.rewards", "retry", "Try a reward again, or now instead of later."),
        "cancel": Verb("cli.rewards", "cancel", "Cancel a reward that has not left."),
        "discard": Verb("cli.rewards", "discard", "Close a reward that needs attention without a parcel."),
    },
    "Act at large": {
        "hold": Verb("cli.holds", "hold", "Stop dispatching: everything, a provider, an article, a reward."),
        "release": Verb("cli.holds", "release", "Lift a hold and send on what it held."),
        "pause": Verb("cli.queue", "pause", "Have workers claim no more jobs."),
        "resume": Verb("cli.queue", "resume", "Have workers claim jobs again."),
        "dead-letters": Verb("cli.dead_letters", "dead_letters", "Deliveries that could not be read or handled."),
    },
}

_VERBS = {name: verb for verbs in SECTIONS.values() for name, verb in verbs.items()}


class _Verbs(click.Group):
    """Imports a verb's module when the verb is called, so that `--help` costs no import."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        verb = _VERBS.get(cmd_name)
        if verb is None:
            return None
        command: click.Command = getattr(importlib.import_module(verb.module), verb.attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        for title, verbs in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, verb.help) for name, verb in verbs.items()])


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="rewardpost")
def rewardpost() -> None:
    """Take Voucherify's webhooks in, keep them safe, get each reward to its customer once.

    The server is the one that REDIS_URL names; where that is not set, the one of `rewardpost dev` running in this
    folder.

    Exit status: 0 done, 1 refused or not found, 2 wrong usage or setting, 3 server out of reach.
    """


def main() -> None:
    """Run the command and exit."""
    rewardpost(prog_name="rewardpost")


if __name__ == "__main__":
    main()
