#!/bin/sh
# The wrapper: runs an agent's program for a run directory, on this machine or on an SSH host, and stays until the run is
# empty. POSIX sh and the utilities that Linux, busybox and macOS share.
#
#   run.sh DIR UMASK LIMIT GRACE INPUT WORKDIR PROGRAM [ARGUMENT...]
#
#   DIR      the run directory, absolute, there already
#   UMASK    the program's, octal; the files in DIR are for their owner alone
#   LIMIT    whole seconds after which the run is ended, whether a daemon lives or not
#   GRACE    whole seconds between TERM and KILL
#   INPUT    the program's standard input: prompt.md (in DIR) or /dev/null
#   WORKDIR  where the program runs, absolute
#
# What it leaves in DIR:
#   begun                   made first: whoever makes it runs the program, everyone else leaves with status 75
#   wrapper                 pid and start time of the wrapper and of its guard
#   pid                     the program's pid, start time and boot; written before its first instruction
#   stdout.log stderr.log   its output
#   stopped | timed-out     why the guard, or somebody in its place, ended the run; whatever has that name
#   start-error             one word: why there is no program
#   exit.json               how it ended: last, atomically, when nothing of the program's process group is left
#
# The guard is a second process: it sleeps until LIMIT is over or somebody sends it TERM, then ends the program's group
# (TERM, KILL after GRACE). So a run ends on time while no daemon lives, and a stop is complete even if whoever asked for
# it is gone a moment later.
#
# How long this takes before the program's first instruction is measured: no process is made for what the shell can do
# itself. Every variable begins with jr_, since variables that came in the environment go on to the program.

jr_wrapper() {
  jr_dir=$1 jr_umask=$2 jr_limit=$3 jr_grace=$4 jr_input=$5
  shift 5
  # Handlers, not '': an ignored signal would stay ignored in the program.
  trap : TERM INT HUP
  umask 077
  cd "$jr_dir" || exit 71
  # An exclusive create: mkdir would do the same, with a process of its own.
  set -C
  true 2>/dev/null >begun || exit 75
  set +C

  # Opened here: a program that is quicker than the guard could put there what blocks it.
  { jr_guard </dev/null 2>/dev/null & } >wrapper
  jr_guard_pid=$!
  # In the foreground: what a shell starts with '&' ignores INT and QUIT, and cannot undo it (dash, busybox).
  jr_own_group "$@"
  jr_status=$?

  jr_read_pid
  jr_empty_group
  kill -USR1 "$jr_guard_pid" 2>/dev/null
  wait "$jr_guard_pid"
  # A full disk may be mended; a run directory that somebody removed is not waited for.
  until jr_record_exit || [ ! -d "$jr_dir" ]; do sleep 2; done
}

# Runs the program as the leader of a process group of its own: the one thing that POSIX sh has no word for.
jr_own_group() {
  if command -v setsid >/dev/null 2>&1; then
    (jr_program setsid "$@")
  elif command -v perl >/dev/null 2>&1; then
    (jr_program perl "$@")
  else
    # Job control, in a subshell of its own: there, a program that is stopped (SIGSTOP) does not pass for one that ended.
    (
      set -m 2>/dev/null
      (jr_program job "$@")
      exit "$?"
    )
  fi
}

# Becomes the program, after what must be true before its first instruction.
jr_program() {
  # Not around the subshell: what the waiting shell says of a signal is not the program's.
  exec <"$jr_input" >stdout.log 2>stderr.log
  jr_way=$1
  cd "$2" 2>/dev/null || jr_refuse WORKSPACE_NOT_FOUND
  shift 2
  jr_is_program "$1" || jr_refuse NOT_INSTALLED
  jr_own_pid
  # dash and busybox take "set -m" without a word, and do nothing where there is no terminal.
  [ "$jr_way" != job ] || [ "$(ps -o pgid= -p "$jr_self" | tr -d ' ')" = "$jr_self" ] || jr_refuse NO_PROCESS_GROUP
  jr_start_of "$jr_self"
  jr_boot_id
  printf 'pid %s\nstart %s\nboot %s\n' "$jr_self" "$jr_start" "$jr_boot" >"$jr_dir/pid" || jr_refuse NO_PID_FILE
  umask "$jr_umask"
  case $jr_way in
    setsid) exec setsid "$@" ;;
    perl) exec perl -e 'setpgrp(0, 0); exec { $ARGV[0] } @ARGV; die "run.sh: $ARGV[0]: $!\n"' "$@" ;;
    *) exec "$@" ;;
  esac
}

# A path is judged as it is: not every shell's "command -v" does that.
jr_is_program() {
  case $1 in
    */*) [ -f "$1" ] && [ -x "$1" ] ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
  esac
}

jr_refuse() {
  printf '%s\n' "$1" >"$jr_dir/start-error"
  exit 127
}

# Ends the run when its time is over, or on TERM; leaves on USR1, when there is nothing left to guard.
jr_guard() {
  jr_why= jr_over=
  # KILL, since a TERM that reaches the sleep before it is more than a copy of this shell is lost.
  trap 'jr_over=yes; kill -KILL "$!"' USR1
  trap 'jr_why=stopped; kill -KILL "$!"' TERM INT HUP
  jr_own_pid
  jr_start_of "$jr_self"
  jr_guard_start=$jr_start
  jr_start_of "$$"
  printf 'pid %s\nstart %s\nguard %s\nguard-start %s\n' "$$" "$jr_start" "$jr_self" "$jr_guard_start"
  exec >/dev/null

  # A signal before the sleep is seen by the test, one after it ends the sleep: none is lost.
  sleep "$jr_limit" &
  [ -n "$jr_why$jr_over" ] || wait "$!"
  kill -KILL "$!"
  wait "$!"
  [ -z "$jr_over" ] || exit 0

  trap '' TERM INT HUP
  # A directory: whatever the program put there, this does not block.
  mkdir "${jr_why:-timed-out}"
  until jr_find_program || [ -n "$jr_over" ]; do
    # Nothing was started yet, or nobody is there to start it.
    kill -0 "$$" || exit 0
    sleep 1
  done
  kill -TERM "-$jr_pid"
  sleep "$jr_grace" &
  [ -n "$jr_over" ] || wait "$!"
  kill -KILL "$!"
  wait "$!"
  [ -n "$jr_over" ] || kill -KILL "-$jr_pid"
}

# The program's pid: the other child of the wrapper. That is a shell where job control made the group; then the record
# counts, which the program may have changed.
jr_find_program() {
  jr_pid=$({ ps -A -o pid= -o ppid= || ps -o pid,ppid; } | while read -r jr_child jr_parent; do
    [ "$jr_parent" != "$$" ] || [ "$jr_child" = "$jr_self" ] || echo "$jr_child"
  done)
  jr_is_pid "$jr_pid" && kill -0 "-$jr_pid" && return
  jr_read_pid
  [ -n "$jr_pid" ] && kill -0 "-$jr_pid"
}

# The program's pid from its record, or nothing.
jr_read_pid() {
  jr_pid=
  [ -f pid ] && [ ! -L pid ] && [ -s pid ] || return 0
  read -r jr_word jr_pid <pid
  jr_is_pid "$jr_pid" || jr_pid=
}

# With 0, 1 and words the signals would go to others.
jr_is_pid() {
  case $1 in '' | *[!0-9]* | 0* | 1) return 1 ;; esac
}

# Helpers that the program left behind in its group get the same TERM, grace and KILL.
jr_empty_group() {
  [ -n "$jr_pid" ] && jr_group_lives || return 0
  kill -TERM "-$jr_pid" 2>/dev/null
  jr_kill_at=$(($(date +%s) + jr_grace))
  while jr_group_lives; do
    jr_now=$(date +%s)
    [ "$jr_now" -lt "$jr_kill_at" ] || kill -KILL "-$jr_pid" 2>/dev/null
    # Not even KILL ends a process that hangs in the kernel.
    [ "$jr_now" -lt "$((jr_kill_at + 60))" ] || return 0
    sleep 0.1 2>/dev/null || sleep 1
  done
}

# Zombies do not count: where nobody reaps orphans, they stay for ever.
jr_group_lives() {
  kill -0 "-$jr_pid" 2>/dev/null || return 1
  { ps -A -o pgid= -o stat= 2>/dev/null || ps -o pgid,stat; } | (
    while read -r jr_member_group jr_member_state; do
      case $jr_member_group:$jr_member_state in
        "$jr_pid":Z*) ;;
        "$jr_pid":*) exit 0 ;;
      esac
    done
    exit 1
  )
}

jr_record_exit() {
  jr_signal=null
  if [ "$jr_status" -gt 128 ]; then
    jr_name=$(kill -l "$((jr_status - 128))" 2>/dev/null)
    # A program may exit with such a number by itself; only these are signals that usually end one.
    case $jr_name in
      HUP | INT | QUIT | ILL | TRAP | ABRT | BUS | FPE | KILL | SEGV | PIPE | ALRM | TERM | USR1 | USR2 | SYS | XCPU | XFSZ)
        jr_signal=\"SIG$jr_name\"
        ;;
    esac
  fi
  jr_stopped=false jr_timed_out=false
  { [ ! -e stopped ] && [ ! -L stopped ]; } || jr_stopped=true
  { [ ! -e timed-out ] && [ ! -L timed-out ]; } || jr_timed_out=true
  # The program may have put there what blocks a write, or takes the record into itself.
  [ ! -d exit.json ] || rm -rf exit.json
  rm -rf exit.json.new
  set -C
  printf '{"status":%d,"signal":%s,"stopped":%s,"timedOut":%s,"endedAt":"%s"}\n' \
    "$jr_status" "$jr_signal" "$jr_stopped" "$jr_timed_out" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" 2>/dev/null >exit.json.new &&
    mv -f exit.json.new exit.json 2>/dev/null
}

# The pid of this very shell: in a subshell, $$ is its parent's.
jr_own_pid() {
  if [ -r /proc/self/stat ]; then
    read -r jr_self jr_rest </proc/self/stat
  else
    jr_self=$(exec sh -c 'echo "$PPID"')
  fi
}

# When a process started, as whoever comes later can read it again. Empty where there is none.
jr_start_of() {
  jr_start=
  if [ -r "/proc/$1/stat" ]; then
    read -r jr_line <"/proc/$1/stat" || return
    # shellcheck disable=SC2086 # the fields after the name, which may hold blanks
    set -- ${jr_line##*) }
    [ "$1" = Z ] || jr_start=${20}
  elif [ ! -d /proc/self ]; then
    # shellcheck disable=SC2046 # as words, since some pad the date
    set -- $(TZ=UTC LC_ALL=C ps -o lstart= -p "$1")
    jr_start=$*
  fi
}

jr_boot_id() {
  if [ -r /proc/sys/kernel/random/boot_id ]; then
    read -r jr_boot </proc/sys/kernel/random/boot_id
  else
    jr_boot=$(sysctl -n kern.bootsessionuuid 2>/dev/null || sysctl -n kern.boottime 2>/dev/null)
  fi
}

# host.sh reads this file for its functions. In braces: all of it is read before anything runs, since an upgrade may replace
# it while the wrapper waits.
[ "${jr_functions_only-}" = yes ] || {
  jr_wrapper "$@"
  exit 0
}
