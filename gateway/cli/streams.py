"""Standard streams as whoever started this process left them, and as commands need them."""

import os
import sys
from io import TextIOWrapper

_STREAMS = (("stdin", os.O_RDONLY, "r"), ("stdout", os.O_RDONLY, "w"), ("stderr", os.O_WRONLY, "w"))


def prepare_standard_streams() -> None:
    """Open descriptors 0 to 2 where they are closed: nothing that is opened later is taken for one.

    Nothing can be read from stdin then, and stderr goes nowhere. Stdout cannot be written, as on a
    full disk: a key that nobody sees must not look as if it were handed out.

    What a terminal's encoding lacks is printed escaped, as Python does on stderr by itself.
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
