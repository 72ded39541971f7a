"""Settings that only the environment holds: secrets, and those that are rarely changed."""

from dataclasses import dataclass

from gateway.domain.settings import LISTEN


@dataclass(frozen=True, slots=True)
class Variable:
    """An environment variable. `default`: its default value, or what happens without it."""

    name: str
    default: str
    meaning: str


VARIABLES = (
    Variable(
        "GATEWAY_PEPPER_FILE",
        "none; with the embedded store: made",
        "A file with the pepper of the keys: 32 random bytes in base64. Several are separated by "
        "spaces, the current one first.",
    ),
    Variable("GATEWAY_PEPPER", "none", "The same, as text."),
    Variable(
        "GATEWAY_MASTER_KEY_FILE",
        "none; on loopback or with the embedded store: made, with a warning",
        "A file with the master key of the vault: 32 random bytes in base64. Several are separated "
        "by spaces, the current one first.",
    ),
    Variable("GATEWAY_MASTER_KEY", "none", "The same, as text."),
    Variable(
        "GATEWAY_VAULT_REDIS_URL",
        "where the keys are",
        "The Redis of the vault, if it has its own.",
    ),
    Variable(
        "GATEWAY_ADMIN_REDIS_URL",
        "GATEWAY_REDIS_URL",
        "The same Redis with the login of the admin API and the console, if the gateway's own "
        "login has fewer rights.",
    ),
    Variable(
        "GATEWAY_CREDENTIAL_POLL",
        "15s",
        "How often to check credentials for changes, ±20 %. Workers normally hear of them at once.",
    ),
    Variable(
        "GATEWAY_AUDIT_FILE",
        "none",
        "A file for audit records, besides the stream in Redis. After an external rotation the "
        "file is created again.",
    ),
    Variable(
        "GATEWAY_AUDIT_FILE_SIZE",
        "0: never",
        "A file that would become larger is rotated, to `FILE.000000001` and so on.",
    ),
    Variable("GATEWAY_AUDIT_FILE_KEEP", "10", "How many rotated files are kept; 0: all."),
    Variable(
        "GATEWAY_AUDIT_FILE_SYNC",
        "always",
        "When a record is flushed to the disk. `always`: before the act that it records; `second`: "
        "within a second; `never`: when the system does it.",
    ),
    Variable(
        "GATEWAY_AUDIT_RECORDS",
        "200000",
        "About how many records the stream keeps. `gateway audit verify` needs the same value.",
    ),
    Variable(
        "GATEWAY_AUDIT_AGE",
        "none",
        "The age, such as 90d, at which records are dropped from the stream. `gateway audit "
        "verify` needs the same value.",
    ),
    Variable("GATEWAY_REDIS_PREFIX", "gw:", "The prefix of every name in Redis."),
    Variable(
        "GATEWAY_REDIS_TIMEOUT",
        "1s",
        "How long to wait for Redis before the answer is 503 store_unavailable.",
    ),
    Variable(
        "GATEWAY_URL",
        f"http://{LISTEN}",
        "For `gateway run`: the gateway's URL. For `gateway users link`, `gateway keys create` and "
        "links made by the admin API and the console: the URL at which callers reach it; by "
        "default, where it listens.",
    ),
    Variable("GATEWAY_KEY_FILE", "none", "For `gateway run`: a file with the agent's key."),
    Variable(
        "GATEWAY_KEY",
        "none",
        "The same, as text. The program does not inherit these two, nor the variables that open "
        "the vault or Redis: `GATEWAY_MASTER_KEY`, `GATEWAY_PEPPER`, `GATEWAY_REDIS_URL` and "
        "the like.",
    ),
)
