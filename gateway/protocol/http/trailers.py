"""The trailers of a chunked answer, of which the parser below tells nothing.

It refuses what cannot be a header line at all, but is lenient with answers otherwise: bare LF,
folded lines, control characters. Nothing of them is passed on; an agent that sends such things is
not to be believed about where its answer ends.
"""

import re

_LAST_CHUNK = re.compile(rb"(?:\A|(?<=\n))0+[ \t]*(?:;[^\r\n]*)?\r?\n")
# A line up to its LF.
_FIELD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r")
_NONE = b"0\r\n\r\n"


def are_malformed(end: bytes) -> bool:
    """Whether there are trailers that are not well-formed; `end` is what was read last of a
    chunked body that has ended. Where they came in several reads nobody can tell: False."""
    if end.endswith(b"\n" + _NONE) or end == _NONE:
        return False
    begin = max((match.end() for match in _LAST_CHUNK.finditer(end)), default=None)
    if begin is None:
        return False
    for line in end[begin:].split(b"\n"):
        if line == b"\r":
            return False
        if not _FIELD.fullmatch(line):
            return True
    return False
