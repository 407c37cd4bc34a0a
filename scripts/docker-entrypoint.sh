#!/bin/sh
# The image's `jarvis-orchestrator`. A container listens on all addresses, so that it needs a token: without one given,
# one is made at the first start and kept with the data.
set -eu

data=${JARVIS_DATA_DIR:-/data}

if [ -z "${JARVIS_TOKEN:-}" ] && [ -z "${JARVIS_TOKEN_FILE:-}" ]; then
  token_file=$data/token
  if [ ! -s "$token_file" ]; then
    mkdir -p -m 0700 "$data" && [ -w "$data" ] || {
      echo "jarvis-orchestrator: $data cannot be written by user id $(id -u): mount a volume that this user owns" >&2
      exit 1
    }
    new=$token_file.new.$$
    (umask 077 && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$new")
    mv "$new" "$token_file"
    echo "jarvis-orchestrator: made an operator token, it is in $token_file" >&2
  fi
  export JARVIS_TOKEN_FILE="$token_file"
fi

exec node /app/dist/cli.js "$@"
