#!/bin/sh
# Stands for a cloud's command line, which finds its access key in the environment.
set -eu
test "${#ACCESS_KEY_SECRET}" -ge 8 || { echo "no access key" >&2; exit 1; }
echo "functions, $2, as $(printf %s "$ACCESS_KEY_ID" | cksum | cut -d' ' -f1): resize-image, send-mail"
