#!/bin/sh
# Everything on this machine: a gateway, three kinds of tools, two users with credentials.
#   examples/tools/demo.sh           # DEMO_PORT=8090 TOOL_PORT=9200, if these are taken
# TOOL_ISOLATION=auto keeps the programs apart; it wants them where other users may read them.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
port=${DEMO_PORT:-8090}
tools=${TOOL_PORT:-9200}
python=$(command -v "${PYTHON:-python3}")
case $python in /*) ;; *) python=$PWD/$python ;; esac
gateway() { "$python" -m gateway "$@"; }
is_free() { "$python" -c "import socket; socket.create_server(('127.0.0.1', $1))" 2> /dev/null; }

for number in "$port" "$tools"; do
    is_free "$number" && continue
    echo "Port $number is taken: choose others with DEMO_PORT and TOOL_PORT." >&2
    exit 1
done

work=$(mktemp -d)
jobs=""
trap 'kill $jobs 2>/dev/null || true; wait; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
cd "$work"
mkdir policies
sed "s|PYTHON|$python|; s|HERE|$here|; s|:9200|:$tools|" "$here/policies.yaml" > policies/tools.yaml
new_token() { "$python" -c 'import secrets; print("tok-" + secrets.token_urlsafe(24), end="")'; }

echo "== a server of tools, and a gateway in front of it"
"$python" "$here/issues_server.py" "$tools" > issues.log 2>&1 & jobs="$jobs $!"
GATEWAY_CREDENTIAL_POLL=0.2s "$python" -m gateway serve --listen "127.0.0.1:$port" \
    --admin-listen 127.0.0.1:0 --tool-isolation "${TOOL_ISOLATION:-none}" \
    --access-log off --log-level error & jobs="$jobs $!"
until "$python" -c "import urllib.request as u; u.urlopen('http://127.0.0.1:$port/readyz')" 2>/dev/null
do sleep 0.5; done

echo "== two users bring their credentials (in life: by 'gateway users link')"
for user in alice bob; do
    new_token > "$user.token"
    gateway credentials set "user/$user/github" --type bearer --from-file "$user.token"
    printf '{"access_key_id": "%s", "access_key_secret": "%s"}' "$(new_token)" "$(new_token)" \
        > "$user.json"
    gateway credentials set "user/$user/aliyun" --type ak_sk --from-file "$user.json"
done

echo "== a model calls tools for them"
export GATEWAY_URL="http://127.0.0.1:$port"
GATEWAY_KEY=$(gateway keys create --consumer model --quiet --users alice,bob \
    --scope 'tools/issues' --scope 'tools/notes:add' --scope 'tools/cloud')
export GATEWAY_KEY
"$python" "$here/call.py"

echo "== none of their credentials was in what it got; what was used is on record"
gateway audit export | grep -c '"event": *"tool.call"'
