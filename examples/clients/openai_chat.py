"""OpenAI's own client, of an agent or of a model behind the gateway: python openai_chat.py QUESTION

GATEWAY_URL, and KEY with the scope of what is called. BASE=/models/v1 MODEL=gpt-4: another place.
"""

import os
import sys

from openai import APIStatusError, OpenAI

client = OpenAI(
    base_url=os.environ.get("GATEWAY_URL", "http://127.0.0.1:8080")
    + os.environ.get("BASE", "/agents/chat/v1"),
    api_key=os.environ["KEY"],
)
try:
    stream = client.chat.completions.create(
        model=os.environ.get("MODEL", "demo"),
        messages=[{"role": "user", "content": " ".join(sys.argv[1:]) or "hello"}],
        stream=True,
    )
    for chunk in stream:
        print(chunk.choices[0].delta.content or "" if chunk.choices else "", end="", flush=True)
    print()
except APIStatusError as refused:
    # What the gateway says of a refusal is where the client looks for it.
    sys.exit(f"{refused.status_code} {refused.code}: {refused.body['message']}")
