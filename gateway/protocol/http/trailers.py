"""The trailers of a chunked answer, which aiohttp's parser does not report.

The parser refuses lines that cannot be headers at all, but accepts bare LF, folded lines and
control characters. Trailers are never passed on; but an agent that sends malformed ones cannot be
trusted about where its answer ends.
"""

import re

_LAST_CHUNK = re.compile(rb"(?:\A|(?<=\n))0+[ \t]*(?:;[^\r\n]*)?\r?\n")
# A line up to its LF, which is not part of it.
_FIELD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r")
_NONE = b"0\r\n\r\n"


def are_malformed(end: bytes) -> bool:
    """Whether there are malformed trailers. `end`: the last read of a chunked body that has ended.
    False if the trailers came in several reads, since then they cannot be checked."""
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
