#!/bin/sh
# Installs the systemd unit and an environment file with a fresh operator token. Starts and enables nothing.
set -eu

usage() {
  cat <<'USAGE'
usage: install-service.sh [--dry-run] [--root DIR] [--user-unit] [--user NAME]

Writes jarvis-orchestrator.service and its environment file (mode 0600, with a fresh random JARVIS_TOKEN; an existing
one is kept), then prints what to do next. Nothing is started or enabled.

  --dry-run     print what would be written, and write nothing
  --root DIR    write under DIR instead of /
  --user-unit   a unit of the calling user's own systemd (no root needed; agents end when the user's manager does:
                `loginctl enable-linger` keeps it running after logout)
  --user NAME   the person whose agents run (default: who called sudo, else the owner of this program's directory)
  --help

Environment: NODE names the node binary (default: the one on PATH).
USAGE
}

main() {
  dry_run=no root='' user_unit=no user=''
  while [ $# -gt 0 ]; do
    case $1 in
      --dry-run) dry_run=yes ;;
      --user-unit) user_unit=yes ;;
      --root) [ -n "${2:-}" ] || wrong_usage '--root needs a directory'; root=${2%/}; shift ;;
      --user) [ -n "${2:-}" ] || wrong_usage '--user needs a name'; user=$2; shift ;;
      -h | --help) usage; exit 0 ;;
      *) wrong_usage "unknown argument: $1" ;;
    esac
    shift
  done

  app=$(cd "$(dirname "$0")/.." && pwd -P)
  template=$app/systemd/jarvis-orchestrator.service
  [ -r "$template" ] || fail "not found: $template"
  find_node
  find_user
  find_targets
  [ -f "$app/dist/cli.js" ] || note "$app/dist/cli.js is missing: run 'npm ci && npm run build' there before you start the service"

  if [ "$dry_run" = yes ]; then
    note "dry run, nothing is written"
    printf '# %s\n' "$root$unit_file"
    print_unit
    printf '\n# %s (mode 0600%s)\n' "$root$env_file" "$([ -e "$root$env_file" ] && echo ', exists: kept as it is' || true)"
    print_environment '<64 random hex digits>'
    next_steps
    return
  fi
  check_rights
  write_environment
  write_unit
  next_steps
}

find_node() {
  node=${NODE:-$(command -v node || true)}
  [ -n "$node" ] || fail 'node is not on PATH (sudo hides a version manager'"'"'s): NODE=/path/to/node sudo --preserve-env=NODE ...'
  case $node in /*) ;; *) fail "NODE must be an absolute path: $node" ;; esac
  "$node" -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)' ||
    fail "$node is too old: 20.19 or newer is needed"
}

# Whose agents run: never root by accident.
find_user() {
  if [ "$user_unit" = yes ]; then
    [ -z "$user" ] || wrong_usage '--user-unit installs for who calls it; leave --user out'
    user=$(id -un)
  elif [ -z "$user" ]; then
    user=${SUDO_USER:-}
    [ -n "$user" ] && [ "$user" != root ] || user=$(id -un)
    [ "$user" != root ] || user=$(ls -ld "$app" | awk '{ print $3 }')
    [ "$user" != root ] || fail 'agents would run as root; name the person whose agents run: --user NAME (--user root, if it must be)'
  fi
  entry=$(getent passwd "$user" || true)
  [ -n "$entry" ] || fail "no such user: $user"
  user=$(printf '%s' "$entry" | cut -d: -f1)
  home=$(printf '%s' "$entry" | cut -d: -f6)
}

find_targets() {
  if [ "$user_unit" = yes ]; then
    config=${XDG_CONFIG_HOME:-$home/.config}
    unit_file=$config/systemd/user/jarvis-orchestrator.service
    env_file=$config/jarvis-orchestrator/environment
    systemctl='systemctl --user'
  else
    unit_file=/etc/systemd/system/jarvis-orchestrator.service
    env_file=/etc/jarvis-orchestrator/environment
    systemctl='sudo systemctl'
  fi
}

check_rights() {
  if [ -z "$root" ] && [ "$user_unit" = no ] && [ "$(id -u)" -ne 0 ]; then
    fail 'writing to /etc needs root: call it with sudo, or use --user-unit'
  fi
  if [ "$user_unit" = yes ] && [ -n "${SUDO_USER:-}" ] && [ "$(id -u)" -eq 0 ]; then
    fail '--user-unit is for your own systemd: call it without sudo'
  fi
}

# The unit of this package with this machine's lines.
print_unit() {
  echo '# Written by scripts/install-service.sh, which replaces it when called again: own changes belong in a drop-in'
  echo "# ($systemctl edit jarvis-orchestrator)."
  skip=yes
  while IFS= read -r line; do
    case $line in '['*) skip=no ;; esac
    if [ "$user_unit" = yes ]; then
      case $line in
        "# The rest needs the system's manager"*) skip=yes ;;
        User=* | Wants=network-online.target | After=network-online.target) continue ;;
        EnvironmentFile=*) line=EnvironmentFile=$(path_quoted "$env_file") ;;
        WantedBy=*) line=WantedBy=default.target ;;
        '[Install]') echo ;;
      esac
    fi
    case $line in
      User=*) line=User=$user ;;
      ExecStart=*) line="ExecStart=$(word_quoted "$node") $(word_quoted "$app/dist/cli.js") serve" ;;
    esac
    [ "$skip" = yes ] || printf '%s\n' "$line"
  done <"$template"
}

print_environment() {
  cat <<ENVIRONMENT
# Environment of jarvis-orchestrator.service, read when it starts. Settings: systemd/jarvis-orchestrator.env.example
# The operator's token: who holds it may do everything.
JARVIS_TOKEN=$1
# What agents find on their PATH.
PATH="$(environment_quoted "$(dirname "$node"):$home/.local/bin:$home/bin:/usr/local/bin:/usr/bin:/bin")"
ENVIRONMENT
}

write_environment() {
  if [ -e "$root$env_file" ]; then
    note "kept $root$env_file"
    return
  fi
  token=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
  [ ${#token} -eq 64 ] || fail 'no randomness from /dev/urandom'
  mkdir -p "$(dirname "$root$env_file")"
  new=$root$env_file.new.$$
  (umask 077 && print_environment "$token" >"$new")
  mv "$new" "$root$env_file"
  note "wrote $root$env_file"
}

write_unit() {
  mkdir -p "$(dirname "$root$unit_file")"
  new=$root$unit_file.new.$$
  (umask 022 && print_unit >"$new")
  chmod 0644 "$new"
  mv "$new" "$root$unit_file"
  note "wrote $root$unit_file"
}

next_steps() {
  if [ "$user_unit" = yes ]; then reader=sed; else reader='sudo sed'; fi
  cat <<NEXT

Next:
  $systemctl daemon-reload
  $systemctl enable --now jarvis-orchestrator
  export JARVIS_TOKEN="\$($reader -n 's/^JARVIS_TOKEN=//p' '$env_file')"
  '$node' '$app/dist/cli.js' status

Agents run as $user and go on when the service stops; 'jarvis-orchestrator cancel --all' ends them.
NEXT
}

# One word of ExecStart=: systemd takes out quotes and backslashes, and fills in % and \$.
word_quoted() {
  no_newline "$1"
  printf '"%s"' "$(printf '%s' "$1" | sed 's/[\\"]/\\&/g; s/%/%%/g; s/\$/$$/g')"
}

# A whole-line path: only % is special.
path_quoted() {
  no_newline "$1"
  printf '%s' "$1" | sed 's/%/%%/g'
}

environment_quoted() {
  no_newline "$1"
  printf '%s' "$1" | sed 's/[\\"$`]/\\&/g'
}

no_newline() {
  case $1 in *'
'*) fail 'a path with a line break cannot stand in a unit' ;; esac
}

note() { printf 'install-service: %s\n' "$1" >&2; }
fail() { note "$1"; exit 1; }
wrong_usage() { note "$1"; usage >&2; exit 2; }

main "$@"
