#!/bin/sh
# The wrapper: runs an agent's program for a run directory, on this machine or on an SSH host, and stays until the run is
# empty. POSIX sh and the utilities that Linux, busybox and macOS share.
#
#   run.sh DIR UMASK LIMIT GRACE LEFTOVERS INPUT WORKDIR PROGRAM [ARGUMENT...]
#   run.sh sweep DIR MARK GRACE     ends what is left of a run whose wrapper was killed
#
#   DIR      the run directory, absolute, there already
#   UMASK    the program's, octal; the files in DIR are for their owner alone
#   LIMIT    whole seconds after which the run is ended, whether a daemon lives or not
#   GRACE    whole seconds between TERM and KILL
#   LEFTOVERS  kill | report: what becomes of processes that the program started in groups of their own
#   INPUT    the program's standard input: prompt.md (in DIR) or /dev/null
#   WORKDIR  where the program runs, absolute
#
# JARVIS_RUN_MARK in the environment is a random word that everything of the run inherits, and by which what left the
# program's group is known. Where this user has a cgroup of his own (systemd's Delegate=), the run gets one in that instead.
#
# What it leaves in DIR:
#   begun                   made first: whoever makes it runs the program, everyone else leaves with status 75
#   wrapper                 pid and start time of the wrapper and of its guard
#   pid                     the program's pid, start time and boot; written before its first instruction
#   stdout.log stderr.log   its output
#   stopped | timed-out     why the guard, or somebody in its place, ended the run; whatever has that name
#   start-error             one word: why there is no program
#   exit.json               how it ended: last, atomically, when nothing of the program is left
#
# The guard is a second process: it sleeps until LIMIT is over or somebody sends it TERM, then ends all that the program
# started (TERM, KILL after GRACE). So a run ends on time while no daemon lives, and a stop is complete even if whoever
# asked for it is gone a moment later.
#
# How long this takes before the program's first instruction is measured: no process is made for what the shell can do
# itself. Every variable begins with jr_, since variables that came in the environment go on to the program.

jr_wrapper() {
  jr_dir=$1 jr_umask=$2 jr_limit=$3 jr_grace=$4 jr_leftovers=$5 jr_input=$6
  shift 6
  # The program's alone: what this shell starts for itself is none of the run's.
  jr_mark=${JARVIS_RUN_MARK-}
  unset JARVIS_RUN_MARK
  # Handlers, not '': an ignored signal would stay ignored in the program.
  trap : TERM INT HUP
  umask 077
  cd "$jr_dir" || exit 71
  # An exclusive create: mkdir would do the same, with a process of its own.
  set -C
  true 2>/dev/null >begun || exit 75
  set +C
  jr_group_of "$$"
  jr_own=$jr_group
  jr_find_cgroup
  [ -z "$jr_cgroup" ] || mkdir "$jr_cgroup" 2>/dev/null || jr_cgroup=

  # Opened here: a program that is quicker than the guard could put there what blocks it.
  { jr_guard </dev/null 2>/dev/null & } >wrapper
  jr_guard_pid=$!
  # In the foreground: what a shell starts with '&' ignores INT and QUIT, and cannot undo it (dash, busybox).
  jr_own_group "$@"
  jr_status=$?

  jr_read_pid
  [ -d "$jr_cgroup" ] || jr_cgroup=
  jr_empty_run
  [ -z "$jr_cgroup" ] || rmdir "$jr_cgroup"
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
  # Where that fails, the mark has to do.
  [ -z "$jr_cgroup" ] || echo "$jr_self" 2>/dev/null >"$jr_cgroup/cgroup.procs" || rmdir "$jr_cgroup" 2>/dev/null
  [ -z "$jr_mark" ] || export "JARVIS_RUN_MARK=$jr_mark"
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
  # What left the group gets its TERM from the wrapper when the program has ended, but no more time than the program had.
  kill -TERM "-$jr_pid"
  sleep "$jr_grace" &
  [ -n "$jr_over" ] || wait "$!"
  kill -KILL "$!"
  wait "$!"
  [ -n "$jr_over" ] || jr_signal_run KILL
}

# The program's pid: the other child of the wrapper. That is a shell where job control made the group; then the record
# counts, which the program may have changed.
jr_find_program() {
  if [ -r "/proc/$$/task/$$/children" ]; then
    read -r jr_children <"/proc/$$/task/$$/children"
    jr_pid=
    for jr_child in $jr_children; do [ "$jr_child" = "$jr_self" ] || jr_pid=$jr_child; done
  else
    jr_pid=$({ ps -A -o pid= -o ppid= || ps -o pid,ppid; } | while read -r jr_child jr_parent; do
      [ "$jr_parent" != "$$" ] || [ "$jr_child" = "$jr_self" ] || echo "$jr_child"
    done)
  fi
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

# Helpers that the program left behind get the same TERM, grace and KILL.
jr_empty_run() {
  jr_run_lives || return 0
  jr_signal_run TERM
  jr_kill_at=$(($(date +%s) + jr_grace))
  while jr_run_lives; do
    jr_now=$(date +%s)
    [ "$jr_now" -lt "$jr_kill_at" ] || jr_signal_run KILL
    # Not even KILL ends a process that hangs in the kernel.
    [ "$jr_now" -lt "$((jr_kill_at + 60))" ] || return 0
    sleep 0.1 2>/dev/null || sleep 1
  done
}

# What is to be left alone is only looked at once the group is empty, and not waited for.
jr_run_lives() {
  jr_strays=
  [ -z "$jr_pid" ] || ! jr_group_lives || return 0
  jr_find_strays
  [ -n "$jr_strays" ] && [ "$jr_leftovers" = kill ]
}

# Sends a signal to all that there is of the run.
jr_signal_run() {
  # Once the group is gone, its number may be another's.
  [ -z "$jr_pid" ] || ! jr_group_lives || kill "-$1" "-$jr_pid" 2>/dev/null
  [ "$jr_leftovers" = kill ] || return 0
  # What comes into being while it is looked for is there at the next look.
  [ "$1" != KILL ] || [ -z "$jr_cgroup" ] || echo 1 2>/dev/null >"$jr_cgroup/cgroup.kill"
  jr_find_strays
  for jr_stray in $jr_strays; do kill "-$1" "$jr_stray" 2>/dev/null; done
}

# The pids of the run outside the program's group: what is in its cgroup, or else what carries its mark. What this user may not
# look into is not his, and this wrapper's own processes, which carry the mark because it came to them, are all in one group.
jr_find_strays() {
  jr_strays=
  [ -n "$jr_own" ] || return 0
  for jr_candidate in $(jr_list_strays 2>/dev/null); do
    jr_is_pid "$jr_candidate" && jr_group_of "$jr_candidate" || continue
    case $jr_group in "$jr_own" | "$jr_pid") ;; *) jr_strays="$jr_strays $jr_candidate" ;; esac
  done
}

jr_list_strays() {
  if [ -n "$jr_cgroup" ]; then
    cat "$jr_cgroup/cgroup.procs"
    return
  fi
  [ -n "$jr_mark" ] || return 0
  if [ -r /proc/self/environ ]; then
    for jr_file in $(grep -lF "JARVIS_RUN_MARK=$jr_mark" /proc/[0-9]*/environ); do
      jr_file=${jr_file%/environ}
      # For the superuser: those of others who inherited it.
      [ ! -O "$jr_file" ] || echo "${jr_file#/proc/}"
    done
  else
    ps -A -E -ww -o pid= -o command= | while read -r jr_candidate jr_line; do
      case $jr_line in *"JARVIS_RUN_MARK=$jr_mark"*) echo "$jr_candidate" ;; esac
    done
  fi
}

# The process group of a process that lives, in jr_group.
jr_group_of() {
  jr_group=
  if [ -r "/proc/$1/stat" ]; then
    read -r jr_line 2>/dev/null <"/proc/$1/stat" || return
    # shellcheck disable=SC2086 # the fields after the name, which may hold blanks
    set -- ${jr_line##*) }
    case $1 in [ZX]) return 1 ;; esac
    jr_group=$3
  elif [ ! -d /proc/self ]; then
    jr_group=$(ps -o pgid= -o stat= -p "$1" | while read -r jr_candidate jr_state; do
      case $jr_state in Z*) ;; *) echo "$jr_candidate" ;; esac
    done)
  fi
  [ -n "$jr_group" ]
}

# Where the run has its cgroup, in jr_cgroup: nothing that is in it leaves it by itself. Only in one that was given to this
# user: the superuser could make one anywhere, also where systemd does not want it.
jr_find_cgroup() {
  jr_cgroup=
  [ -r /proc/self/cgroup ] && [ ! -O / ] || return 0
  while IFS= read -r jr_line; do
    case $jr_line in 0::/*) jr_cgroup=${jr_line#0::} ;; esac
  done </proc/self/cgroup
  [ -n "$jr_cgroup" ] || return 0
  for jr_mount in /sys/fs/cgroup /sys/fs/cgroup/unified; do
    if [ -O "$jr_mount$jr_cgroup" ] && [ -w "$jr_mount$jr_cgroup/cgroup.procs" ]; then
      jr_cgroup=$jr_mount${jr_cgroup%/}/run-${jr_dir##*/}
      return
    fi
  done
  jr_cgroup=
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
  jr_left=
  for jr_stray in $jr_strays; do jr_left=$jr_left${jr_left:+,}$jr_stray; done
  printf '{"status":%d,"signal":%s,"stopped":%s,"timedOut":%s,"leftovers":[%s],"endedAt":"%s"}\n' \
    "$jr_status" "$jr_signal" "$jr_stopped" "$jr_timed_out" "$jr_left" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" 2>/dev/null >exit.json.new &&
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

# Ends what is left of a run whose wrapper was killed.
jr_sweep() {
  jr_dir=$1 jr_mark=$2 jr_grace=$3 jr_leftovers=kill jr_pid=
  jr_group_of "$$"
  jr_own=$jr_group
  jr_find_cgroup
  [ -d "$jr_cgroup" ] || jr_cgroup=
  jr_empty_run
  [ -z "$jr_cgroup" ] || rmdir "$jr_cgroup"
}

# host.sh reads this file for its functions. In braces: all of it is read before anything runs, since an upgrade may replace
# it while the wrapper waits.
[ "${jr_functions_only-}" = yes ] || {
  case $1 in
    sweep) jr_sweep "$2" "$3" "$4" 2>/dev/null ;;
    *) jr_wrapper "$@" ;;
  esac
  exit 0
}
