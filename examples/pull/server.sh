#!/bin/sh
# A program that knows nothing of gateways: it reads its password from a file, and again on SIGHUP.
report() { echo "server: password read, $(wc -c < "$1" | tr -d ' ') bytes, checksum $(cksum < "$1" | cut -d' ' -f1)"; }
trap 'report "$1"' HUP
trap 'exit 0' TERM
report "$1"
while :; do sleep 0.1; done
