"""A model provider on this machine: it knows each model's keys from a file, as providers know the
keys that they have handed out and not yet revoked.

    python provider.py PORT KEYS_FILE        # a line each: MODEL KEY
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Provider(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = self.headers.get("Authorization", "").removeprefix("Bearer ")
        line = f"{asked['model']} {key}"
        if line in Path(sys.argv[2]).read_text(encoding="utf-8").splitlines():
            message = {
                "role": "assistant",
                "content": f"I heard {asked['messages'][-1]['content']}",
            }
            self.answer(200, {"choices": [{"index": 0, "message": message}]})
        else:
            self.answer(401, {"error": {"message": "this key is not, or no longer, valid"}})

    def answer(self, status: int, told: dict[str, object]) -> None:
        body = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: an access log is not what is shown here."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Provider).serve_forever()
