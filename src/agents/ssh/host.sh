#!/bin/sh
# The far side of the ssh adapter, on Linux or a Mac: POSIX sh, beside run.sh in the directory of the runs.
#
#   host.sh start ID    makes the run ID of what its standard input says, and leaves it to run.sh
#   host.sh serve       answers requests, a line each, until its standard input ends
#
# Nothing that came from a task stands in a command line or is evaluated: texts arrive on standard input, each as a number
# of lines, and go on as whole arguments and variables.

jr_functions_only=yes
. "${0%/*}/run.sh"
unset jr_functions_only
jr_runs=${0%/*}/..
jr_newline='
'

# ---------------------------------------------------------------------------------------------------------------- start
#
#   limit SECONDS | grace SECONDS | leftovers WORD | input NAME
#   root LINES          where a task's workspace may lie; several
#   workspace LINES     of a task, or
#   workdir LINES       of the agent; neither: the run directory
#   env NAME LINES      several
#   arg LINES           several: the program and its arguments
#   prompt BYTES        last: the rest is the prompt
#
# Answers "started", "begun" (it had been started before) or "refused CODE".

jr_start_run() {
  jr_own_umask=$(umask)
  umask 077
  mkdir -p "$jr_runs/$1" && jr_dir=$(cd "$jr_runs/$1" && pwd) || jr_answer "refused NO_RUN_DIRECTORY"
  shift
  jr_place=run jr_allowed=
  while IFS=' ' read -r jr_key jr_first jr_second; do
    case $jr_key in
      limit) jr_limit=$jr_first ;;
      grace) jr_grace=$jr_first ;;
      leftovers) jr_leftovers=$jr_first ;;
      input) jr_input=$jr_first ;;
      root) jr_read_text "$jr_first" && jr_allow_root ;;
      workspace | workdir) jr_read_text "$jr_first" && jr_place=$jr_key jr_workdir=$jr_text ;;
      env) jr_read_text "$jr_second" && export "$jr_first=$jr_text" ;;
      arg) jr_read_text "$jr_first" && set -- "$@" "$jr_text" ;;
      prompt) break ;;
      *) jr_answer "refused BAD_REQUEST" ;;
    esac
  done
  jr_find_workdir
  [ ! -e "$jr_dir/begun" ] || jr_answer begun

  # A cut connection ends the prompt too early: then there is no run, and it is asked for again.
  cat >"$jr_dir/prompt.$$"
  jr_size=$(wc -c <"$jr_dir/prompt.$$")
  if [ "$((jr_size))" -ne "$jr_first" ]; then
    rm -f "$jr_dir/prompt.$$"
    jr_answer "refused INCOMPLETE"
  fi
  mv -f "$jr_dir/prompt.$$" "$jr_dir/prompt.md" || jr_answer "refused NO_RUN_DIRECTORY"
  set -- "$jr_leftovers" "$jr_input" "$jr_workdir" "$@"
  jr_detach sh "${0%/*}/run.sh" "$jr_dir" "$jr_own_umask" "$jr_limit" "$jr_grace" "$@"
  jr_answer started
}

jr_answer() {
  printf '%s\n' "$1"
  exit 0
}

# A text of $1 lines into jr_text, without its last line break.
jr_read_text() {
  IFS= read -r jr_text || jr_answer "refused INCOMPLETE"
  jr_left=$1
  while [ "$((jr_left -= 1))" -gt 0 ]; do
    IFS= read -r jr_line || jr_answer "refused INCOMPLETE"
    jr_text=$jr_text$jr_newline$jr_line
  done
}

# As it is written in the config; what this host does not have allows nothing.
jr_allow_root() {
  jr_absolute "$jr_text"
  jr_root=$(cd -P "$jr_path" 2>/dev/null && pwd -P) || return 0
  jr_allowed=$jr_allowed${jr_root%/}/$jr_newline
}

jr_find_workdir() {
  if [ "$jr_place" = run ]; then
    # Beside the records of the run, not among them.
    jr_workdir=$jr_dir/work
    mkdir -p "$jr_workdir" || jr_answer "refused NO_RUN_DIRECTORY"
    return
  fi
  jr_absolute "$jr_workdir"
  jr_workdir=$(cd -P "$jr_path" 2>/dev/null && pwd -P) || jr_answer "refused WORKSPACE_NOT_FOUND"
  [ "$jr_place" = workspace ] || return 0
  jr_real_runs=$(cd -P "$jr_runs" && pwd -P)
  case $jr_workdir/ in "$jr_real_runs"/*) jr_answer "refused BAD_WORKSPACE" ;; esac
  while IFS= read -r jr_root; do
    [ -n "$jr_root" ] || continue
    case $jr_workdir/ in "$jr_root"*) return 0 ;; esac
  done <<END
$jr_allowed
END
  jr_answer "refused BAD_WORKSPACE"
}

# ~ is this host's home, where a relative path starts too.
jr_absolute() {
  case $1 in
    /*) jr_path=$1 ;;
    "~") jr_path=$HOME ;;
    \~/*) jr_path=$HOME/${1#\~/} ;;
    *) jr_path=$HOME/$1 ;;
  esac
}

# Starts something that stays when the connection goes. Not with '&' alone where that can be helped: the run would ignore
# INT and QUIT. A setsid that leads a process group forks, and its parent leaves.
jr_detach() {
  exec </dev/null
  if command -v setsid >/dev/null 2>&1; then
    setsid sh -c 'exec setsid "$@"' sh "$@" >/dev/null 2>&1
  elif command -v perl >/dev/null 2>&1; then
    perl -e 'use POSIX "setsid"; exit if fork; setsid; exec { $ARGV[0] } @ARGV' "$@" >/dev/null 2>&1
  else
    set -m 2>/dev/null
    "$@" >/dev/null 2>&1 &
  fi
}

# ---------------------------------------------------------------------------------------------------------------- serve
#
#   sizes ID...                   ls -ln of the logs and exit records that are there
#   state ID...                   what the directories hold and which processes live
#   read ID STREAM OFFSET BYTES   so many bytes of a log, and a line break
#   stop ID GRACE WHY             TERM to the run's group, KILL after GRACE seconds; WHY: stopped | timed-out
#   kill ID                       KILL to the run's group
#   dismiss ID GRACE MARK         nothing is left to guard, nor to wait for; what carries the MARK is ended, where that is not "-"
#   inspect [version]             the next two lines are a PATH (or nothing) and a program: is it there, and what is its version;
#                                 how much room there is for runs; what time it is
#
# Every answer ends with a line that is a dot. Answers hold nothing else that could be one.

jr_serve() {
  printf 'jarvis-host 1\n'
  printf 'home %s\nnow %s\n.\n' "$HOME" "$(date +%s)"
  jr_prune </dev/null >/dev/null 2>&1 &
  while IFS= read -r jr_request; do
    set -f
    # shellcheck disable=SC2086 # words without blanks
    set -- $jr_request
    jr_verb=$1
    shift
    case $jr_verb in
      sizes) jr_sizes "$@" ;;
      state) for jr_id do jr_state "$jr_id"; done ;;
      read)
        # As many as were asked for, even of a log that somebody made shorter meanwhile: the reader counts on them.
        { jr_is_plain "$jr_runs/$1/$2.log" && tail -c "+$(($3 + 1))" "$jr_runs/$1/$2.log"; cat /dev/zero; } 2>/dev/null | head -c "$4"
        echo
        ;;
      stop) jr_stop "$@" ;;
      kill) jr_load "$1" && jr_has_group && kill -KILL "-$jr_pid" ;;
      dismiss)
        jr_load "$1" && jr_dismiss
        [ "$3" = - ] || sh "${0%/*}/run.sh" sweep "$jr_runs/$1" "$3" "$2" </dev/null >/dev/null 2>&1 &
        ;;
      inspect)
        IFS= read -r jr_search
        IFS= read -r jr_program
        jr_inspect "$1"
        ;;
    esac 2>/dev/null
    echo .
  done
}

jr_inspect() {
  (
    [ -z "$jr_search" ] || PATH=$jr_search
    jr_is_program "$jr_program" || exit 0
    echo found
    [ "$1" = version ] || exit 0
    "$jr_program" --version >"$jr_runs/version.$$" 2>/dev/null &
    jr_asked=$!
    # A program that hangs must not hold up the runs.
    (sleep 10 && kill -KILL "$jr_asked") >/dev/null 2>&1 &
    jr_watch=$!
    wait "$jr_asked" && IFS= read -r jr_line <"$jr_runs/version.$$" && printf 'version %s\n' "$jr_line"
    kill -KILL "$jr_watch"
    rm -f "$jr_runs/version.$$"
  ) </dev/null
  : >"$jr_runs/probe.$$" && rm -f "$jr_runs/probe.$$" &&
    df -Pk "$jr_runs" | while read -r jr_device jr_blocks jr_used jr_free jr_rest; do
      case $jr_free in '' | *[!0-9]*) ;; *) printf 'free-kib %s\n' "$jr_free" ;; esac
    done
  printf 'now %s\n' "$(date +%s)"
}

jr_sizes() {
  for jr_id do
    for jr_file in stdout.log stderr.log usage.log exit.json; do
      jr_is_plain "$jr_runs/$jr_id/$jr_file" && set -- "$@" "$jr_runs/$jr_id/$jr_file"
    done
    shift
  done
  [ "$#" -eq 0 ] || ls -ln "$@" 2>/dev/null
}

# A program may put what it likes into its run directory: what blocks when it is read, and links to anywhere.
jr_is_plain() {
  [ -f "$1" ] && [ ! -L "$1" ]
}

# Those of the records of the run $1 that are plain files, and no longer than the wrapper makes them.
jr_records() {
  jr_run=$1
  shift
  jr_files=$(cd "$jr_runs/$jr_run" && find "$@" -prune -type f -size -5)
}

# Who lives is asked before the exit record is read: a wrapper that is gone by then has written it before.
jr_state() {
  printf 'run %s\n' "$1"
  [ -e "$jr_runs/$1/begun" ] || return 0
  echo begun
  jr_load "$1"
  jr_is_alive "$jr_wrapper" "$jr_wrapper_start" && echo wrapper-alive
  jr_is_alive "$jr_guard" "$jr_guard_start" && echo guard-alive
  jr_has_group && echo group-alive
  # As they were when it was asked who lives.
  [ -z "$jr_wrapper" ] ||
    printf 'wrapper %s\n' "pid $jr_wrapper" "start $jr_wrapper_start" "guard $jr_guard" "guard-start $jr_guard_start"
  [ -z "$jr_pid" ] || printf 'pid %s\n' "pid $jr_pid" "start $jr_pid_start" "boot $jr_pid_boot"
  jr_records "$1" start-error exit.json
  for jr_file in $jr_files; do
    jr_left=8
    while [ "$((jr_left -= 1))" -ge 0 ] && IFS= read -r jr_line; do
      printf '%s %s\n' "$jr_file" "$jr_line"
    done <"$jr_runs/$1/$jr_file"
  done
}

jr_stop() {
  jr_load "$1" || return 0
  if jr_is_alive "$jr_guard" "$jr_guard_start"; then
    # It may be frozen.
    kill -TERM "$jr_guard"
    kill -CONT "$jr_guard"
  elif jr_has_group; then
    # Somebody killed the guard. What does its work must outlive this connection.
    mkdir "$jr_runs/$1/$3"
    kill -TERM "-$jr_pid"
    (sleep "$2" && jr_has_group && kill -KILL "-$jr_pid") </dev/null >/dev/null 2>&1 &
  fi
}

# Lets the guard go, even a frozen one, and a wrapper that cannot write down how the run ended.
jr_dismiss() {
  jr_is_alive "$jr_guard" "$jr_guard_start" && kill -USR1 "$jr_guard" && kill -CONT "$jr_guard"
  jr_has_group || { jr_is_alive "$jr_wrapper" "$jr_wrapper_start" && kill -KILL "$jr_wrapper"; }
}

# The processes of a run from its records.
jr_load() {
  jr_wrapper= jr_wrapper_start= jr_guard= jr_guard_start= jr_pid= jr_pid_start= jr_pid_boot=
  jr_records "$1" wrapper pid
  for jr_file in $jr_files; do
    while read -r jr_key jr_value; do
      case $jr_file-$jr_key in
        wrapper-pid) jr_wrapper=$jr_value ;;
        wrapper-start) jr_wrapper_start=$jr_value ;;
        wrapper-guard) jr_guard=$jr_value ;;
        wrapper-guard-start) jr_guard_start=$jr_value ;;
        pid-pid) jr_pid=$jr_value ;;
        pid-start) jr_pid_start=$jr_value ;;
        pid-boot) jr_pid_boot=$jr_value ;;
      esac
    done <"$jr_runs/$1/$jr_file"
  done
  jr_is_pid "$jr_wrapper" || jr_wrapper=
  jr_is_pid "$jr_guard" || jr_guard=
  jr_is_pid "$jr_pid" || jr_pid=
  [ -n "$jr_wrapper$jr_pid" ]
}

jr_is_alive() {
  [ -n "$1" ] && kill -0 "$1" 2>/dev/null || return 1
  jr_start=
  jr_start_of "$1"
  [ "$jr_start" = "$2" ]
}

# The number of a group is used again only when the whole group is gone.
jr_has_group() {
  [ -n "$jr_pid" ] || return 1
  jr_boot=
  jr_boot_id
  [ "$jr_boot" = "$jr_pid_boot" ] || return 1
  jr_is_alive "$jr_pid" "$jr_pid_start" && return 0
  kill -0 "$jr_pid" 2>/dev/null && return 1
  jr_group_lives
}

# Runs that ended more than 30 days ago; the daemon has their output since then. Only their own records count, not what a
# program may have put into its folder.
jr_prune() {
  # Names go as arguments, whatever stands in them.
  find "$jr_runs"/[A-Za-z0-9]*/exit.json -prune -type f -mtime +30 -exec sh -c 'rm -rf "${1%/exit.json}"' sh {} \;
}

# Without a login shell a Mac's PATH lacks where programs are installed there.
PATH=$PATH:/usr/local/bin:/opt/homebrew/bin:$HOME/.local/bin
export PATH
{
  case $1 in
    start) jr_start_run "$2" ;;
    serve) jr_serve ;;
  esac
  exit 0
}
