"""Which stored hashes of keys are accepted for computation."""

import re

MAX_MEMORY_KIB = 65536

# A salt of 8 to 64 bytes and a hash of 16 to 64 bytes: shorter ones could be guessed.
_PHC = re.compile(
    r"\$argon2id\$v=19\$m=([1-9]\d{0,4}),t=[1-4],p=([1-4])"
    r"\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{22,86}",
    re.ASCII,
)


def acceptable(phc: str) -> bool:
    """Whether `phc` costs no more to compute than planned. Any other string opens for no secret.

    A stored string sets its own memory and time costs, so whoever can write to Redis could claim 4
    GiB to exhaust the gateway.
    """
    match = _PHC.fullmatch(phc)
    if match is None:
        return False
    memory, lanes = int(match.group(1)), int(match.group(2))
    return 8 * lanes <= memory <= MAX_MEMORY_KIB
