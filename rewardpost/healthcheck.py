"""`python -m rewardpost.healthcheck URL`: exit status 0 when the URL answers 2xx within two seconds, else 1."""

import sys
import urllib.error
import urllib.request

_TIMEOUT_SECONDS = 2


def main(arguments: list[str]) -> int:
    """Ask the URL once."""
    try:
        with urllib.request.urlopen(arguments[0], timeout=_TIMEOUT_SECONDS):  # noqa: S310 - the URL is the operator's
            return 0
    except (OSError, urllib.error.URLError, IndexError, ValueError) as exc:
        sys.stderr.write(f"expected an answer from the process: {type(exc).__name__}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
