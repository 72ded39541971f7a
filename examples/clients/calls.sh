#!/bin/sh
# curl, of an agent behind the gateway: what a key is limited to, a stream, and a refusal.
#   KEY=… examples/clients/calls.sh
set -eu
url=${GATEWAY_URL:-http://127.0.0.1:8080}
auth="Authorization: Bearer $KEY"

echo "== what is left of the key's limits"
curl -sS -o /dev/null -D - "$url/agents/echo/hello" -H "$auth" | grep -i '^ratelimit'

echo "== a stream"
curl -sSN "$url/agents/chat/v1/chat/completions" -H "$auth" -H 'Content-Type: application/json' \
    -d '{"model": "demo", "stream": true, "messages": [{"role": "user", "content": "hello"}]}'

echo "== something that the key does not open: 403, and which scope it would take"
curl -sS -w '\n%{http_code}\n' "$url/v1/credentials?names=openai_key" -H "$auth"
