"""The agents' library: credentials from a gateway, in memory, always the newest.

async with Credentials(url, key, names=["openai_key"]) as credentials:
    client = OpenAI(api_key=credentials["openai_key"].reveal())
"""

from gateway.client.blocking import SyncCredentials
from gateway.client.changes import SourceError
from gateway.client.config import Config, ConfigError, ConfigList, load_config
from gateway.client.credentials import Credentials
from gateway.client.secret import Secret
from gateway.client.source import RefusedError
from gateway.client.sync import UnavailableError

__all__ = [
    "Config",
    "ConfigError",
    "ConfigList",
    "Credentials",
    "RefusedError",
    "Secret",
    "SourceError",
    "SyncCredentials",
    "UnavailableError",
    "load_config",
]
