"""Sends requests at a steady pace, in a process of its own: what measures beside it is not slowed.

Reads {"addresses", "keys", "rate", "seconds"} from stdin, prints its calls.
"""

import asyncio
import json
import sys
import time
from itertools import cycle
from typing import Any

from tests.chaos.calls import Call, ask
from tests.cli.serving import Connection

CONNECTIONS = 10


async def flood(wish: dict[str, Any]) -> list[Call]:
    turns, calls = cycle(wish["keys"]), list[Call]()
    pace = CONNECTIONS / wish["rate"]

    async def paced(number: int) -> None:
        """A request every `pace` seconds, however long its answer takes."""
        address = wish["addresses"][number % len(wish["addresses"])]
        connection = Connection(*await asyncio.open_connection(*address))
        began = time.monotonic() + number * pace / CONNECTIONS
        for turn in range(int(wish["seconds"] / pace)):
            await asyncio.sleep(began + turn * pace - time.monotonic())
            sent = time.monotonic()
            outcome, last = await ask(connection, "/agents/a/quick", next(turns))
            calls.append(Call(number, sent, time.monotonic(), outcome))
            if last:
                connection.writer.close()
                connection = Connection(*await asyncio.open_connection(*address))
        connection.writer.close()

    await asyncio.gather(*map(paced, range(CONNECTIONS)))
    return calls


if __name__ == "__main__":
    print(json.dumps(asyncio.run(flood(json.load(sys.stdin)))))
