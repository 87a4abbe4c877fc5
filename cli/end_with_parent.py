"""Run as a script: become the command in the arguments, and end when the process that started this one does.

Arguments: the parent's process id, then the command. Only Linux can promise the end; elsewhere the command runs
all the same. It uses nothing but the standard library, so that it costs a start of the interpreter and no more.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Do it; returns only where the parent has ended already."""
    parent, *command = sys.argv[1:]
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == int(parent):
        os.execv(command[0], command)  # noqa: S606 - the command of our own parent, no shell wanted


if __name__ == "__main__":
    main()
