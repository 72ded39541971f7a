"""A process that needs the embedded store of a directory until its stdin ends.

`python tenant.py DIRECTORY`: prints the path of the socket once the store answers.
"""

import asyncio
import sys
from pathlib import Path

from gateway.store.embedded.server import embedded


async def main() -> None:
    async with embedded(Path(sys.argv[1])) as socket:
        print(socket, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
