"""What tests of agents that pull share."""

from dataclasses import dataclass
from typing import Any

from gateway.client import Credentials, UnavailableError
from tests.flows.world import World
from tests.services.vaults import Vault

PATIENCE = 20.0
NAMES = ("crm", "openai_key")


@dataclass
class Pulling:
    """A gateway, its vault, and the key of an agent that may pull `crm` and `openai_key`."""

    world: World
    vault: Vault
    key: str

    @property
    def url(self) -> str:
        return self.world.url

    async def change_key(self) -> str:
        """Return another key in place of the one so far, which is gone."""
        await self.world.client.delete(*await self.world.client.keys("gw:key:*"))
        self.key = (await self.world.issue("gateway/credentials:crm")).text
        return self.key

    def credentials(self, *names: str, **more: Any) -> Credentials:
        return Credentials(self.url, self.key, names or NAMES, **{"poll": 1.0, **more})


def has(credentials: Credentials, name: str) -> bool:
    try:
        credentials[name]
    except UnavailableError:
        return False
    return True
