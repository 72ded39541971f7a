"""Which stored hashes of keys are ever computed."""

import re

MAX_MEMORY_KIB = 65536

# A salt of 8 to 64 bytes and a hash of 16 to 64: shorter ones could be guessed.
_PHC = re.compile(
    r"\$argon2id\$v=19\$m=([1-9]\d{0,4}),t=[1-4],p=([1-4])"
    r"\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{22,86}",
    re.ASCII,
)


def acceptable(phc: str) -> bool:
    """Whether computing `phc` costs no more than planned: any other one opens for no secret.

    A stored string chooses its own memory and time, so one that claims 4 GiB is a bomb in the
    hands of whoever can write to Redis.
    """
    match = _PHC.fullmatch(phc)
    if match is None:
        return False
    memory, lanes = int(match.group(1)), int(match.group(2))
    return 8 * lanes <= memory <= MAX_MEMORY_KIB
