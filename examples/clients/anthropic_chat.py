"""Anthropic's own client, of a model behind the gateway: python anthropic_chat.py MODEL QUESTION

GATEWAY_URL, and KEY with the scope models/MODEL.
"""

import os
import sys

from anthropic import Anthropic, APIStatusError

client = Anthropic(
    base_url=os.environ.get("GATEWAY_URL", "http://127.0.0.1:8080") + "/models/anthropic",
    api_key=os.environ["KEY"],
)
try:
    told = client.messages.create(
        model=sys.argv[1],
        max_tokens=200,
        messages=[{"role": "user", "content": " ".join(sys.argv[2:]) or "hello"}],
    )
    print("".join(part.text for part in told.content if part.type == "text"))
except APIStatusError as refused:
    error = refused.body["error"]
    sys.exit(f"{refused.status_code} {error['code']}: {error['message']}")
