/**
 * Looks whether what an agent did is what it should be: the config's verifiers, each a run of its own in the session's workspace, made
 * by the same adapter as the session's. So it has a deadline, a log, an end that is complete, here and on SSH hosts.
 */
import type { Config, VerifierSettings } from "../config/schema.ts";
import type { Verification } from "../core/decide/report.ts";
import type { ActiveSession, SessionError } from "../core/session.ts";
import type { AgentAdapter, Clock, Run, RunEnd, RunSpec, Verifier, VerifierListener } from "../dispatcher/ports.ts";

export interface VerificationParts {
  readonly clock: Clock;
  readonly config: () => Pick<Config, "verifiers">;
  /** Where the session's workspace is. */
  readonly adapterFor: (session: ActiveSession) => AgentAdapter;
}

export function createVerifier(parts: VerificationParts): Verifier {
  return { verify: (session, listener) => new VerificationRun(parts, session, listener) };
}

/** Of what a verifier printed, in the sentence that says why it failed. */
const OUTPUT_LENGTH = 4000;

class VerificationRun implements Run {
  readonly #parts: VerificationParts;
  readonly #session: ActiveSession;
  readonly #listener: VerifierListener;
  #run: Run | null = null;
  #isStopped = false;
  #isDetached = false;

  constructor(parts: VerificationParts, session: ActiveSession, listener: VerifierListener) {
    this.#parts = parts;
    this.#session = session;
    this.#listener = listener;
    // Never before `verify` returned.
    parts.clock.after(0, () => this.#next(session.verify ?? []));
  }

  stop(): void {
    this.#isStopped = true;
    this.#run?.stop();
  }

  async detach(): Promise<void> {
    this.#isDetached = true;
    await this.#run?.detach();
  }

  #next(names: readonly string[]): void {
    const [name, ...rest] = names;
    if (this.#isDetached) return;
    if (name === undefined) return this.#listener.ended({ ok: true });
    const { verifiers } = this.#parts.config();
    const settings = Object.hasOwn(verifiers, name) ? verifiers[name] : undefined;
    if (settings === undefined)
      return this.#fail({
        code: "BAD_CONFIG",
        message: `its work cannot be verified: there is no "${name}" in the config's "verifiers"`,
      });
    this.#listener.began(name);
    this.#check(name, settings, checksOf(settings, this.#session.startedAt), () => this.#next(rest));
  }

  /** What one verifier asks for, one after the other. */
  #check(name: string, settings: VerifierSettings, checks: readonly Check[], done: () => void): void {
    const [check, ...rest] = checks;
    if (this.#isDetached) return;
    if (check === undefined) return done();
    this.#run = this.#parts.adapterFor(this.#session).open(this.#specFor(name, check, settings.timeoutMs), {
      started: () => {},
      sign: () => {},
      ended: (end) => {
        // It is over, and nothing of it is left to let go of.
        this.#run?.detach().catch(() => {});
        if (end.outcome.status === "completed") this.#check(name, settings, rest, done);
        else this.#fail(errorOf(name, check, end));
      },
    });
    // One that was begun before a restart is found by this, and ended; a new one is not begun.
    if (this.#isStopped) this.#run.stop();
  }

  #specFor(name: string, { kind, command }: Check, timeoutMs: number): RunSpec {
    const { id, taskId, agent, workspace, isolation, resumes } = this.#session;
    return {
      sessionId: `${id}.${kind}-${name}`,
      taskId,
      agent,
      model: null,
      prompt: "",
      workspace,
      isolation,
      workOf: resumes?.origin ?? id,
      // Not even the callback token: what it runs is the workspace's, which the agent has just changed.
      env: {},
      deadlineAt: this.#parts.clock.now() + timeoutMs,
      command,
    };
  }

  #fail(error: SessionError): void {
    if (!this.#isDetached) this.#listener.ended({ ok: false, error } satisfies Verification);
  }
}

interface Check {
  readonly kind: "verify" | "files" | "changed";
  readonly command: readonly [string, ...string[]];
}

function checksOf({ command, files, changed }: VerifierSettings, startedAt: number): readonly Check[] {
  const [program, ...rest] = command ?? [];
  return [
    ...(changed === true
      ? [{ kind: "changed", command: ["sh", "-c", CHANGED, "changed", touchTime(startedAt)] } as const]
      : []),
    ...(files === undefined ? [] : [{ kind: "files", command: ["sh", "-c", THERE, "files", ...files] } as const]),
    ...(program === undefined ? [] : [{ kind: "verify", command: [program, ...rest] } as const]),
  ];
}

/** Each of its arguments is a file or a directory that is there. Names are arguments, never part of the script. */
const THERE = `missing=
for file do
  [ -e "$file" ] || { printf 'missing: %s\\n' "$file"; missing=yes; }
done
[ -z "$missing" ]`;

/**
 * Something is newer than the time $1 (as `touch -t` has it, UTC): a commit, a file that git finds changed or does not know yet, or the
 * folder of a file that is gone; where there is no git, anything. Of what the repository's config names, nothing is run: neither filters
 * nor a file system monitor, since the agent may have put them there.
 */
const CHANGED = `mark=\${TMPDIR:-/tmp}/jarvis-changed.$$
TZ=UTC touch -t "$1" "$mark" || exit 2
trap 'rm -f "$mark"' EXIT
count=0
set_config() {
  export "GIT_CONFIG_KEY_$count=$1" "GIT_CONFIG_VALUE_$count=$2"
  count=$((count + 1))
  export "GIT_CONFIG_COUNT=$count"
}
set_config core.fsmonitor false
set_config core.untrackedCache false
while IFS= read -r key; do
  [ -z "$key" ] || set_config "$key" ''
done <<END
$(git config --name-only --get-regexp '^filter[.]' 2>/dev/null)
END
if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
  [ -n "$(find "$(git rev-parse --git-path logs/HEAD)" -newer "$mark" 2>/dev/null)" ] && exit 0
  { git ls-files -z --modified --others --exclude-standard; git ls-files -z --deleted; } 2>/dev/null | xargs -0 sh -c '
    for file do
      file=./$file
      while [ ! -e "$file" ] && [ ! -L "$file" ]; do file=\${file%/*}; done
      [ -z "$(find "$file" -prune -newer "$0")" ] || { echo yes; break; }
    done' "$mark" | grep -q yes && exit 0
else
  [ -n "$(find . ! -name . -newer "$mark" 2>/dev/null | head -n 1)" ] && exit 0
fi
echo 'nothing in the workspace has changed since the session began'
exit 1`;

/** As POSIX \`touch -t\` takes it: a second earlier, since it has no finer times. */
function touchTime(at: number): string {
  const [, year, month, day, hours, minutes, seconds] =
    /^(\d+)-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)/.exec(new Date(at - 1000).toISOString()) ?? [];
  return `${year}${month}${day}${hours}${minutes}.${seconds}`;
}

/** How a verifier ends that was run, and does not say yes. */
const SAYS_NO = new Set(["EXIT_STATUS", "SIGNAL", "TIMED_OUT", "OUTPUT_LIMIT", "STOPPED"]);

/** One that could not be run says nothing of the work: what is in its way keeps its own code, and is mended or tried again like any such. */
function errorOf(name: string, check: Check, end: RunEnd): SessionError {
  const code = "error" in end.outcome ? end.outcome.error.code : "";
  if (SAYS_NO.has(code)) {
    const message = `the agent says that it is done, but "${name}" says no: ${why(check, end)}`;
    return { code: "VERIFICATION_FAILED", message };
  }
  return { code, message: `its work cannot be verified ("${name}"): ${why(check, end)}` };
}

function why({ kind }: Check, { outcome }: RunEnd): string {
  const said = "result" in outcome && outcome.result !== undefined ? outcome.result.trim() : "";
  const error = "error" in outcome ? outcome.error.message : "";
  if (kind !== "verify" && said !== "") return said;
  const tail = said.length > OUTPUT_LENGTH ? `…${said.slice(-OUTPUT_LENGTH)}` : said;
  return tail === "" || tail === "(no output)" ? error : `${error}\n\n${tail}`;
}
