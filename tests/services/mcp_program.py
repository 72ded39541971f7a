"""An MCP server over stdio in plain Python, so that every interpreter and every user can run it.

Its tools do what tests need: `sleep` until cancelled, `crash`, `print` what is no JSON, and so on.
With the argument `deaf` no more is read.
"""

import json
import os
import sys
import threading
import time
from typing import Any

cancelled: dict[Any, threading.Event] = {}
writing = threading.Lock()
reading = threading.Lock()


def send(message: dict[str, Any]) -> None:
    with writing:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()


def text(value: object) -> dict[str, Any]:
    shown = value if isinstance(value, str) else json.dumps(value)
    return {"content": [{"type": "text", "text": shown}]}


def call(request: dict[str, Any]) -> None:
    params = request["params"]
    name, arguments = params["name"], params.get("arguments", {})
    meta = params.get("_meta", {})
    result = text(f"called {name}")
    if arguments.get("deaf"):
        reading.acquire()
    if name == "echo":
        result = text(arguments)
    elif name == "environment":
        result = text(dict(os.environ))
    elif name == "measure":
        result = text(len(os.environ["TOKEN"]))
    elif name == "pid":
        result = text(os.getpid())
    elif name == "sleep":
        ended = cancelled[request["id"]].wait(arguments["seconds"])
        result = text("cancelled" if ended else "slept")
    elif name == "cancelled":
        result = text([key for key, event in cancelled.items() if event.is_set()])
    elif name == "progress":
        token = meta.get("progressToken")
        for step in range(3):
            params = {"progressToken": token, "progress": step}
            send({"method": "notifications/progress", "params": params})
        time.sleep(arguments.get("seconds", 0))
    elif name == "log":
        send({"method": "notifications/message", "params": {"level": "info", "data": "said"}})
    elif name == "flood":
        for _ in range(200):
            data = {"level": "info", "data": "x" * 20_000}
            send({"method": "notifications/message", "params": data})
    elif name == "after_flood":
        flooded.wait(20)
    elif name == "crash":
        os._exit(3)
    elif name == "big":
        result = text("x" * arguments["size"])
    elif name == "endless_line":
        while True:
            sys.stdout.write("x" * 65_536)
    elif name == "nest":
        levels = arguments["levels"]
        sys.stdout.write(f'{{"id":{request["id"]},"result":{"[" * levels}{"]" * levels}}}\n')
        sys.stdout.flush()
        return
    elif name == "pour":
        out = sys.stderr if arguments.get("to") == "stderr" else sys.stdout
        lines = f"{arguments['line']}\n" * (1 + 2**16 // (1 + len(arguments["line"])))
        while True:
            out.write(lines)
    elif name == "print":
        print("Hello, I am no JSON", flush=True)
        print("[1, 2]", flush=True)
    elif name == "stderr":
        print(arguments["text"], file=sys.stderr, flush=True)
    elif name == "ask":
        send({"id": "s1", "method": "sampling/createMessage", "params": {}})
        send({"id": "s2", "method": "ping"})
        deadline = time.monotonic() + 20
        while len(answers) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        result = text(answers)
    elif name == "strange":
        result = text("\ud800" + str(2**70))
    send({"id": request["id"], "result": result})
    if name == "flood":
        flooded.set()


flooded = threading.Event()
answers: list[dict[str, Any]] = []
greeted = False
print("serving", file=sys.stderr, flush=True)
for line in sys.stdin:
    with reading:
        message = json.loads(line)
    method = message.get("method")
    if method is None:
        answers.append(message)
    elif method == "initialize":
        told = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {"listChanged": True}}}
        send({"id": message["id"], "result": {**told, "serverInfo": {"name": "p", "version": "1"}}})
    elif method == "notifications/initialized":
        greeted = True
    elif method == "notifications/cancelled":
        cancelled[message["params"]["requestId"]].set()
    elif method == "tools/list":
        tools = [{"name": "echo", "inputSchema": {"type": "object"}}]
        send({"id": message["id"], "result": {"tools": tools, "greeted": greeted}})
    elif method == "tools/call":
        cancelled[message["id"]] = threading.Event()
        threading.Thread(target=call, args=[message], daemon=True).start()
    else:
        send({"id": message["id"], "error": {"code": -32601, "message": f"no {method}"}})
