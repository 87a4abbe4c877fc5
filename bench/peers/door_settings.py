"""What the doors under measurement have in common: where webhooks go, and how they are signed."""

from argparse import ArgumentParser, Namespace

PATH = "/webhooks/voucherify"
SECRET = "bench-secret"  # noqa: S105 - it guards nothing
BODY_BYTES = 4096


def options() -> Namespace:
    """Return what a door under measurement is told."""
    parser = ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--url", required=True)
    return parser.parse_args()
