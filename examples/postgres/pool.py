"""An agent with a PostgreSQL pool. The password is rotated while it runs, and no query fails.

    GATEWAY_URL=… GATEWAY_KEY=… python pool.py SECONDS     # pip install asyncpg

The credential `orders_db` is of the type `database`, one URL with user and password in it.

Rotate between two users, so that one that works is there at any time:
    ALTER ROLE agent_b PASSWORD '…'
    printf %s 'postgresql://agent_b:…@host/orders' | gateway credentials rotate orders_db
    # once all agents have it: ALTER ROLE agent_a PASSWORD NULL
"""

import asyncio
import os
import sys
import time
from typing import Any

import asyncpg

from gateway.client import Credentials

NAME = "orders_db"


async def main(seconds: float) -> int:
    async with Credentials(
        os.environ["GATEWAY_URL"], os.environ["GATEWAY_KEY"], [NAME], poll=2
    ) as credentials:

        async def connect(*_: Any, **settings: Any) -> Any:
            # For each new connection of the pool: the newest there is.
            return await asyncpg.connect(credentials[NAME].reveal(), **settings)

        # A connection is used for so many queries, so that none outlives a rotation for long.
        pool = asyncpg.create_pool(min_size=1, max_size=4, max_queries=20, connect=connect)
        async with pool:
            return await work(pool, seconds)


async def work(pool: Any, seconds: float) -> int:
    users: dict[str, int] = {}
    failed = 0
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        try:
            user = await pool.fetchval("SELECT current_user")
        except (OSError, asyncpg.PostgresError) as problem:
            failed += 1
            print(f"failed: {type(problem).__name__}", flush=True)
        else:
            if user not in users:
                print(f"queries run as {user}", flush=True)
            users[user] = users.get(user, 0) + 1
        await asyncio.sleep(0.01)
    print(f"done: {failed} failed, queries by user {users}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(float(sys.argv[1]))))
