"""How a tool may spell what it was given."""

import base64
import json
from collections.abc import Callable
from html import escape
from urllib.parse import quote

SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": lambda s: s,
    "base64": lambda s: base64.b64encode(s.encode()).decode(),
    "base64 inside": lambda s: base64.b64encode(f"x={s};".encode()).decode(),
    "base64 lines": lambda s: base64.encodebytes(f"TOKEN={s * 3}\n".encode()).decode(),
    "url": lambda s: quote(s, safe=""),
    "every byte": lambda s: "".join(f"%{b:02x}" for b in s.encode()),
    "hex": lambda s: s.encode().hex(),
    "json": lambda s: json.dumps({"token": s}),
    "html": lambda s: escape(f"<p>{s}</p>"),
}
