"""The cases that are measured, and which peers take part in each."""

from dataclasses import replace

from bench import load
from bench.backend import BIG, EVENTS
from bench.keys import SCOPE, id_of, make_keys, new_key
from bench.load import Case
from bench.peers import PEERS
from bench.site import CONFIGS, Running, Site

COLD_KEYS = 1000
# Of twenty requests six are refused: half for their key, half for a missing scope.
ADMITTED, REFUSED = 14, 3
# An MCP message. To an agent it is a body like any other.
CALL = CONFIGS / "call.json"
# A conversation of 10 KB, which is answered with a stream.
CHAT = CONFIGS / "chat.json"
_STREAMS = ("gateway", "passthrough", "nginx", "nginx-lua", "caddy")
_FULL = tuple(name for name, peer in PEERS.items() if peer.full)

CASES = (
    Case("1k", "1 KB, 32 conn."),
    Case("inject", "1 KB, injected", base="/services/bench"),
    Case("post", "a call, plain", method="POST", text=CALL),
    Case("tool", "a call of a tool", "/mcp", method="POST", base="/tools/bench", text=CALL),
    Case("1k-256", "1 KB, 256 conn.", connections=256),
    Case("paced", "1 KB, paced", connections=64),
    Case("deny", "30 % denied", refused=2 * REFUSED / (ADMITTED + 2 * REFUSED)),
    Case("cold", f"{COLD_KEYS:,} cold keys"),
    Case("sse", f"SSE, {EVENTS} events", "/sse", streams=True),
    Case(
        "model",
        "a model's stream",
        "/chat/completions",
        method="POST",
        streams=True,
        base="/models/v1",
        text=CHAT,
    ),
    Case("down", "1 MB down", "/big"),
    Case("up", "1 MB up", "/upload", method="POST", body=BIG),
)
PEERS_OF = {
    **dict.fromkeys(("inject", "post", "tool", "model"), ("gateway",)),
    "deny": _FULL,
    "cold": _FULL,
    **dict.fromkeys(("sse", "down", "up"), _STREAMS),
}


def takes_part(case: Case, peer: str) -> bool:
    """Whether `peer` can do this, and is worth comparing."""
    return peer in PEERS_OF.get(case.name, (peer,))


def with_requests(site: Site, case: Case, peer: Running) -> Case:
    """Give the case with mixed requests its file of requests for this peer."""
    if case.name != "deny":
        return case
    path = site.folder / f"deny-{peer.name}.txt"
    if not path.exists():
        base = peer.path
        allowed = [f"{base}/1k {site.key}"] * ADMITTED
        strangers = [f"{base}/1k {new_key(id_of(site.key)).text}", f"{base}/1k {new_key().text}"]
        outside = [f"{base}/files/1k {site.key}"] * REFUSED
        lines = [*allowed, *strangers, strangers[0], *outside]
        path.touch(mode=0o600)
        path.write_text("\n".join(lines) + "\n")
    return replace(case, mixed=path)


def at_half_speed(case: Case, passthrough: Running | None, key: str, wanted: float) -> Case:
    """Set the rate of the paced case: `wanted`, or half of what the passthrough manages."""
    rate = wanted
    if not rate and passthrough is not None:
        rate = load.run(CASES[0], passthrough, key, 2).per_second / 2
    rate = float(f"{rate or 1000:.2g}")
    return replace(case, rate=rate, title=f"1 KB at {rate:,.0f}/s")


def cold_keys(site: Site) -> list[str]:
    return make_keys(site, COLD_KEYS, scopes=SCOPE)
