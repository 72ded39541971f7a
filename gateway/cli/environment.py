"""Settings that are read from the environment alone: secrets, and what is rarely changed."""

from dataclasses import dataclass

from gateway.domain.settings import LISTEN


@dataclass(frozen=True, slots=True)
class Variable:
    """`default`: as an operator would write it; or what happens without it."""

    name: str
    default: str
    meaning: str


VARIABLES = (
    Variable(
        "GATEWAY_PEPPER_FILE",
        "none; with the embedded store: made",
        "A file with 32 random bytes in base64; several, separated by spaces, the current one "
        "first. It belongs to the keys.",
    ),
    Variable("GATEWAY_PEPPER", "none", "The same as text."),
    Variable(
        "GATEWAY_MASTER_KEY_FILE",
        "none; on loopback or with the embedded store: made, with a warning",
        "A file with what opens the vault: 32 random bytes in base64; several, separated by "
        "spaces, the current one first.",
    ),
    Variable("GATEWAY_MASTER_KEY", "none", "The same as text."),
    Variable("GATEWAY_VAULT_REDIS_URL", "where the keys are", "A Redis of the vault's own."),
    Variable(
        "GATEWAY_ADMIN_REDIS_URL",
        "GATEWAY_REDIS_URL",
        "The same Redis with the login that the admin API and the console work with, where the "
        "gateway's own may less.",
    ),
    Variable(
        "GATEWAY_CREDENTIAL_POLL",
        "15s",
        "How often credentials are looked at for changes, give or take a fifth.",
    ),
    Variable(
        "GATEWAY_AUDIT_FILE",
        "none",
        "A file for audit records, beside the stream in Redis; a rotated file is made anew.",
    ),
    Variable(
        "GATEWAY_AUDIT_FILE_SIZE",
        "0: never",
        "A file that would become larger is rotated, to `FILE.000000001` and on.",
    ),
    Variable("GATEWAY_AUDIT_FILE_KEEP", "10", "So many rotated files stay; 0: all."),
    Variable(
        "GATEWAY_AUDIT_FILE_SYNC",
        "always",
        "When a record in the file is on the disk: `always`, before what it is about is done; "
        "`second`, within one; `never`, when the system sees fit.",
    ),
    Variable(
        "GATEWAY_AUDIT_RECORDS",
        "200000",
        "So many records stay in the stream, give or take. `gateway audit verify` goes by it too.",
    ),
    Variable(
        "GATEWAY_AUDIT_AGE",
        "none",
        "Older records are dropped from the stream, such as 90d; `gateway audit verify` goes by it "
        "too.",
    ),
    Variable("GATEWAY_REDIS_PREFIX", "gw:", "What every name in Redis begins with."),
    Variable(
        "GATEWAY_REDIS_TIMEOUT",
        "1s",
        "After so long a Redis that does not answer is 503 store_unavailable.",
    ),
    Variable(
        "GATEWAY_URL",
        f"http://{LISTEN}",
        "For `gateway run`: where the gateway is. For `gateway users link`, `gateway keys create` "
        "and links that the admin API and the console make: where it is reached; left out, where "
        "it listens.",
    ),
    Variable("GATEWAY_KEY_FILE", "none", "For `gateway run`: a file with the agent's key."),
    Variable(
        "GATEWAY_KEY",
        "none",
        "The same as text. The program that is run gets neither it nor what opens the vault or "
        "Redis: `GATEWAY_MASTER_KEY`, `GATEWAY_PEPPER`, `GATEWAY_REDIS_URL` and their kin.",
    ),
)
