"""The time to search a tool's answer for secrets: `python -m bench.scrub`."""

import random
import string
import time

import orjson

from gateway.protocol.mcp.rpc_scrub import Known, Search, decode
from gateway.protocol.secrets import Secrets

SECRETS, LENGTH, MEGABYTE = 20, 40, 2**20
GOAL_MS = 10.0
_LETTERS = string.ascii_letters + string.digits + "/+_-"


def twenty_secrets(draw: random.Random) -> Known:
    texts = ("".join(draw.choices(_LETTERS, k=LENGTH)) for _ in range(SECRETS))
    made = Secrets(tuple((f"secret{i}", text) for i, text in enumerate(texts))).known
    if made is None:
        raise AssertionError
    return made


def answer_of(draw: random.Random, line: int) -> bytes:
    """Return an answer of one megabyte, in lines of `line` characters."""
    text = "".join(draw.choices(_LETTERS + "    ", k=MEGABYTE))
    lines = "\n".join(text[at : at + line] for at in range(0, MEGABYTE, line))
    return orjson.dumps(
        {"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text", "text": lines}]}}
    )


def best_ms(answer: bytes, found: Known, rounds: int = 7) -> float:
    """The best time, in milliseconds, from an answer's bytes to those that may be shown."""
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        Search(found).written(decode(answer))
        took.append(time.perf_counter() - began)
    return min(took) * 1000


def main() -> None:
    draw = random.Random(1)  # noqa: S311 - the same each time
    found = twenty_secrets(draw)
    for title, line in (("one line", MEGABYTE), ("lines of 80", 80)):
        took = best_ms(answer_of(draw, line), found)
        word = "reached" if took < GOAL_MS else "NOT reached"
        print(f"1 MB, {SECRETS} secrets, {title:<12} {took:6.1f} ms  (under {GOAL_MS:g}: {word})")


if __name__ == "__main__":
    main()
