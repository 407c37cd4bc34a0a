#!/bin/sh
# One heartbeat: ask whether there is anything to do, and dispatch if there is.
set -eu

usage() {
  cat <<'USAGE'
usage: heartbeat.sh

Asks the daemon for its heartbeat. When there is nothing to do it prints HEARTBEAT_OK; else it dispatches and prints the
daemon's answer (JSON). Exit status 1 when the daemon cannot be reached or refuses, 2 for wrong usage.

Environment:
  JARVIS_URL          where the daemon listens (default: http://127.0.0.1:3333)
  JARVIS_TOKEN        the operator's token, or
  JARVIS_TOKEN_FILE   a file that holds it
USAGE
}

main() {
  case ${1:-} in
    '') ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
  command -v curl >/dev/null || fail 'curl is not installed'
  url=${JARVIS_URL:-http://127.0.0.1:3333}
  url=${url%/}
  token=${JARVIS_TOKEN:-}
  [ -n "$token" ] || token=$(token_from_file)

  call GET '/api/orchestrate?format=heartbeat'
  case $answer in
    HEARTBEAT_OK*) printf '%s\n' "$answer" ;;
    *)
      call POST /api/orchestrate
      printf '%s\n' "$answer"
      ;;
  esac
}

token_from_file() {
  [ -n "${JARVIS_TOKEN_FILE:-}" ] || return 0
  [ -r "$JARVIS_TOKEN_FILE" ] || fail "cannot read JARVIS_TOKEN_FILE: $JARVIS_TOKEN_FILE"
  tr -d ' \t\r\n' <"$JARVIS_TOKEN_FILE"
}

# Sets $answer to the body of a 2xx, or ends here.
call() {
  answer=$(settings | curl --disable --config - --request "$1" "$url$2") || fail "no answer from $url: is the daemon running?"
  status=${answer##*
}
  answer=${answer%
*}
  case $status in
    2??) ;;
    401 | 403) fail "$1 $2: $status, is JARVIS_TOKEN the daemon's? $answer" ;;
    *) fail "$1 $2: $status $answer" ;;
  esac
}

# The token goes to curl through a pipe: an argument could be seen by everyone on this machine.
settings() {
  printf '%s\n' silent show-error 'connect-timeout = 5' 'max-time = 30' 'write-out = "\n%{http_code}"'
  case $url in *://localhost[:/]* | *://localhost | *://127.* | *'://[::1]'*) echo 'noproxy = "*"' ;; esac
  [ -z "$token" ] || printf 'header = "Authorization: Bearer %s"\n' "$(printf '%s' "$token" | sed 's/[\\"]/\\&/g')"
}

fail() {
  printf 'heartbeat: %s\n' "$1" >&2
  exit 1
}

main "$@"
