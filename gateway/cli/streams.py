"""The standard streams, which the parent process may have closed."""

import os
import sys
from io import TextIOWrapper

_STREAMS = (("stdin", os.O_RDONLY, "r"), ("stdout", os.O_RDONLY, "w"), ("stderr", os.O_WRONLY, "w"))


def prepare_standard_streams() -> None:
    """Open those of the descriptors 0 to 2 that are closed, so that no file opened later takes
    their number.

    A stdin opened here is empty, and stderr is discarded. Writing to stdout fails, as on a full
    disk: a command must not report that it handed out a key that nobody could see.

    Characters that the terminal's encoding lacks are printed escaped, as Python does on stderr.
    """
    for number, (name, flags, mode) in enumerate(_STREAMS):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, flags)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
