#!/bin/sh
# Everything on this machine: a gateway with its vault, a provider, an agent, and a rotation.
#   examples/pull/demo.sh            # DEMO_PORT=8090 PROVIDER_PORT=9300, if these are taken
set -eu
here=$(cd "$(dirname "$0")" && pwd)
port=${DEMO_PORT:-8090}
export PROVIDER_PORT="${PROVIDER_PORT:-9300}"
python=$(command -v "${PYTHON:-python3}")
case $python in /*) ;; *) python=$PWD/$python ;; esac
gateway() { "$python" -m gateway "$@"; }
is_free() { "$python" -c "import socket; socket.create_server(('127.0.0.1', $1))" 2> /dev/null; }

for number in "$port" "$PROVIDER_PORT"; do
    is_free "$number" && continue
    echo "Port $number is taken: choose others with DEMO_PORT and PROVIDER_PORT." >&2
    exit 1
done

work=$(mktemp -d)
jobs=""
trap 'kill $jobs 2>/dev/null || true; wait; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
cd "$work"
mkdir policies
printf 'version: 1\nagents:\n  none: {upstream: "http://127.0.0.1:9"}\n' > policies/agents.yaml
new_key() { "$python" -c 'import secrets; print("sk-" + secrets.token_urlsafe(24), end="")'; }

echo "== a gateway, and a provider that knows two keys"
small=$(new_key) large=$(new_key) password=$(new_key)
printf 'small %s\nlarge %s\n' "$small" "$large" > keys
"$python" "$here/provider.py" "$PROVIDER_PORT" keys & jobs="$jobs $!"
GATEWAY_CREDENTIAL_POLL=1s "$python" -m gateway serve --listen "127.0.0.1:$port" \
    --admin-listen 127.0.0.1:0 \
    --access-log off --log-level error & jobs="$jobs $!"
until "$python" -c "import urllib.request as u; u.urlopen('http://127.0.0.1:$port/readyz')" 2>/dev/null
do sleep 0.1; done

echo "== the keys go into the vault, and a key of its own to the agent"
printf %s "$small" | gateway credentials set small_model_key --type api_key
printf %s "$large" | gateway credentials set large_model_key --type api_key
printf %s "$password" | gateway credentials set db_password --type custom
export GATEWAY_URL="http://127.0.0.1:$port"
GATEWAY_KEY=$(gateway keys create --consumer agent --quiet \
    --scope gateway/credentials:small_model_key --scope gateway/credentials:large_model_key \
    --scope gateway/credentials:db_password)
export GATEWAY_KEY

echo "== an agent in Python, and a server that is a shell script"
"$python" -m gateway run --poll 2s --file db_password=password --on-change SIGHUP -- \
    sh "$here/server.sh" password & jobs="$jobs $!"
"$python" "$here/agent.py" "${QUESTIONS:-80}" & agent=$! jobs="$jobs $!"
sleep 3

echo "== rotation: the provider knows old and new, the vault gets the new, the old one is revoked"
newer=$(new_key)
printf 'small %s\nsmall %s\nlarge %s\n' "$small" "$newer" "$large" > keys.new && mv keys.new keys
printf %s "$newer" | gateway credentials rotate small_model_key --grace 1m
new_key | gateway credentials rotate db_password
sleep 4
printf 'small %s\nlarge %s\n' "$newer" "$large" > keys.new && mv keys.new keys
echo "== the old key is revoked at the provider"

wait "$agent"
