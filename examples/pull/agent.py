"""An agent with two models. Their keys are rotated while it runs, and it never notices.

GATEWAY_URL=… GATEWAY_KEY=… PROVIDER_PORT=9300 python agent.py QUESTIONS
"""

import asyncio
import os
import sys
from pathlib import Path
from string import Template
from typing import Any

import aiohttp

from gateway.client import Config, Credentials, load_config

KEYS = ("small_model_key", "large_model_key")


async def ask(session: aiohttp.ClientSession, model: Config, question: str) -> int:
    # The newest key, at each question: it is read here, and kept nowhere.
    headers = {"Authorization": f"Bearer {model['key']}"}
    body = {"model": model["name"], "messages": [{"role": "user", "content": question}]}
    url = Template(model["url"]).substitute(os.environ) + "/v1/chat/completions"
    async with session.post(url, json=body, headers=headers) as answer:
        told: Any = await answer.json()
        said = told["choices"][0]["message"]["content"] if answer.ok else told["error"]["message"]
        print(f"{model['name']}: {answer.status} {said}", flush=True)
        return answer.status


async def main(questions: int) -> int:
    url, key = os.environ["GATEWAY_URL"], os.environ["GATEWAY_KEY"]
    failed = 0
    async with (
        Credentials(url, key, KEYS, poll=2) as credentials,
        aiohttp.ClientSession() as session,
    ):
        config = load_config(Path(__file__).with_name("agent.yaml"), credentials)
        print(f"What an agent knows, as it would stand in a log: {config!r}", flush=True)
        for number in range(questions):
            for model in config["models"]:
                failed += await ask(session, model, f"question {number}") != 200
            await asyncio.sleep(0.1)
        versions = {name: credentials[name].version for name in KEYS}
    print(f"done: {failed} failed, versions {versions}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(int(sys.argv[1]))))
