/** What was seen of a task on its way, judged: each step with what it showed and, where that is not right, what to do. */
import type { Session } from "../api/session.ts";
import type { Counts, Evidence } from "./path-test.ts";
import { oneLine } from "./text.ts";
import { duration } from "./time.ts";

export type StepName =
  | "dispatched"
  | "started"
  | "ended"
  | "result"
  | "comment"
  | "task"
  | "lock"
  | "metrics"
  | "cost"
  | "removed";

export interface Step {
  readonly step: StepName;
  readonly state: "ok" | "warn" | "fail";
  readonly message: string;
  /** What the program wrote, and the like. */
  readonly details?: readonly string[];
}

export interface Expectation {
  readonly status: "completed" | "failed" | "cancelled";
  /** What its result is to be, where it completes. */
  readonly result?: string;
}

/** One step after the other, as far as the task came. */
export function judge(seen: Evidence, expected: Expectation): readonly Step[] {
  const { session } = seen;
  const steps =
    session === null
      ? [dispatched(seen)]
      : [dispatched(seen), started(session), ...(isOver(session) ? afterwards(seen, session, expected) : [])];
  return [...steps, ...trouble(seen), removed(seen)].filter((step) => step !== null);
}

function afterwards(seen: Evidence, session: Session, expected: Expectation): (Step | null)[] {
  return [
    ended(seen, session, expected),
    session.status === "completed" ? result(session, expected) : null,
    comment(seen, session),
    task(seen, session),
    lock(seen),
    metrics(seen, session),
    // What did not come to its end mostly tells no costs, and is not to be blamed for it.
    session.status === "completed" || session.usage !== undefined ? cost(session) : null,
  ];
}

/** Only an end has a time. */
function isOver({ completedAt }: Session): boolean {
  return completedAt !== undefined;
}

function dispatched({ session, refused, trouble }: Evidence): Step | null {
  const step = "dispatched";
  if (session !== null)
    return { step, state: "ok", message: `session ${session.id}, attempt ${session.attempt}, by ${session.method}` };
  if (refused !== null) return { step, state: "fail", message: `nothing was started: ${refused.join("; ")}` };
  return trouble === null ? { step, state: "fail", message: "nothing was started, and no reason given" } : null;
}

function started({ pid, host, error, status }: Session): Step {
  const step = "started";
  if (pid !== undefined)
    return { step, state: "ok", message: `its program ran${host === undefined ? "" : ` on ${host}`}, pid ${pid}` };
  if (error === undefined) return { step, state: "warn", message: `its program was not seen to run (${status})` };
  return { step, state: "fail", message: "its program never ran" };
}

function ended({ log }: Evidence, session: Session, expected: Expectation): Step {
  const { status, error, startedAt, completedAt = startedAt } = session;
  const took = duration(Date.parse(completedAt) - Date.parse(startedAt));
  const isExpected = status === expected.status;
  const what = `${status.replace("_", " ")} after ${took}${isExpected && status !== "completed" ? ", as it should" : ""}`;
  const state = isExpected ? "ok" : "fail";
  if (error === undefined)
    return { step: "ended", state, message: isExpected ? what : `${what}, not ${expected.status} as it should` };
  const { code, class: kind = "unknown", message } = error;
  const advice = isExpected ? "" : adviceOn(kind);
  return {
    step: "ended",
    state,
    message: `${what}: ${code} (${kind}): ${message}${advice}`,
    ...(log.length > 0 && !isExpected
      ? { details: ["the last that it wrote:", ...log.map((line) => `  ${line}`)] }
      : {}),
  };
}

/** What a person can do about an error of that class. */
function adviceOn(kind: string): string {
  const advice = ADVICE[kind];
  return advice === undefined ? "" : `; ${advice}`;
}

/** Where the error does not say it itself. */
const ADVICE: Readonly<Record<string, string>> = {
  timed_out:
    "look what its program waits for: a question that nobody answers, a sign-in, the network (--timeout gives it longer)",
  crashed: "run the program by hand as the user that the agent runs as, and see what it says",
};

const RESULT_SHOWN = 60;

function result({ result: text = "" }: Session, expected: Expectation): Step {
  const step = "result";
  const line = oneLine(text);
  if (line === "") return { step, state: "fail", message: 'nothing was read from its output: look at its "output"' };
  const shown = JSON.stringify(line.length > RESULT_SHOWN ? `${line.slice(0, RESULT_SHOWN)}…` : line);
  const wanted = expected.result;
  const isRight = wanted === undefined || line.toLowerCase().includes(wanted.toLowerCase());
  if (isRight) return { step, state: "ok", message: `read: ${shown}` };
  return { step, state: "warn", message: `read ${shown}, where ${JSON.stringify(wanted)} was asked for` };
}

function comment({ task, agent }: Evidence, session: Session): Step | null {
  if (task === null) return null;
  const step = "comment";
  const found = task.comments.filter(({ author, sessionId }) => author === agent && sessionId === session.id);
  if (found.length === 0) return { step, state: "fail", message: `there is no comment by ${agent} on the task` };
  const how = session.status === "completed" ? "with its result" : "with what became of it";
  return { step, state: "ok", message: `${agent} commented on the task ${how}` };
}

function task({ task: found }: Evidence, { status: outcome }: Session): Step | null {
  if (found === null) return null;
  const { status, hold } = found;
  const where = `the task is in ${status}${hold === undefined ? "" : `, held: ${hold.code}`}`;
  const isRight = outcome === "completed" ? status === "done" : status === "todo" && hold !== undefined;
  return isRight
    ? { step: "task", state: "ok", message: where }
    : { step: "task", state: "fail", message: `${where}, not ${outcome === "completed" ? "in done" : "held in todo"}` };
}

function lock({ looks, looksWithLock, locksLeft }: Evidence): Step | null {
  const step = "lock";
  if (locksLeft === null) return null;
  if (locksLeft.length > 0)
    return { step, state: "fail", message: `still held after the end: ${locksLeft.join(", ")} (\`locks\` shows them)` };
  if (looks === 0)
    return { step, state: "warn", message: "released; the session was over before it could be seen to hold it" };
  if (looksWithLock < looks)
    return { step, state: "fail", message: `held in only ${looksWithLock} of ${looks} looks while it was at work` };
  return { step, state: "ok", message: "held while it was at work, and released" };
}

function metrics({ before, after, othersRan }: Evidence, { status, agent }: Session): Step | null {
  if (before === null || after === null) return null;
  const step = "metrics";
  const kind: keyof Counts = status === "completed" || status === "cancelled" ? status : "failed";
  const more = { dispatched: after.dispatched - before.dispatched, ended: after[kind] - before[kind] };
  const counted = `${more.dispatched} more dispatched, ${more.ended} more ${kind}`;
  if (more.dispatched === 1 && more.ended === 1) return { step, state: "ok", message: counted };
  const isPlausible = othersRan && more.dispatched >= 1 && more.ended >= 1;
  if (isPlausible) return { step, state: "ok", message: `${counted}: other sessions of ${agent} were at work, too` };
  return { step, state: "fail", message: `${counted}, where 1 and 1 were wanted` };
}

function cost({ usage, cost: price }: Session): Step {
  const step = "cost";
  const tokens = usage === undefined ? "no tokens were told" : tokensOf(usage);
  if (price === undefined || price.usd === null)
    return {
      step,
      state: "warn",
      message: `${tokens}; the cost is unknown, so no metrics have it: its "output" may be that of a known program, or its callback tell "usage"`,
    };
  return { step, state: "ok", message: `${tokens}; ${usd(price.usd)}, ${price.basis}${by(price.by)}` };
}

function tokensOf({ inputTokens, cacheReadTokens = 0, outputTokens, model }: NonNullable<Session["usage"]>): string {
  const cached = cacheReadTokens > 0 ? ` (${cacheReadTokens} of them from a cache)` : "";
  const who = model === undefined ? "" : ` by ${oneLine(model)}`;
  return `${inputTokens ?? "?"} tokens in${cached}, ${outputTokens ?? "?"} out${who}`;
}

function by(source: NonNullable<Session["cost"]>["by"]): string {
  if (source === "program") return " by its program";
  if (source === "prices") return " from the prices of its model";
  return source === "multiplier" ? " from the agent's costMultiplier" : "";
}

export function usd(amount: number): string {
  return `$${amount.toFixed(amount > 0 && amount < 0.01 ? 5 : 2)}`;
}

function trouble({ trouble: said, session }: Evidence): Step[] {
  if (said === null) return [];
  return [{ step: session === null ? "dispatched" : "ended", state: "fail", message: said }];
}

function removed({ leftBehind }: Evidence): Step {
  return leftBehind === null
    ? { step: "removed", state: "ok", message: "the task is off the board again" }
    : { step: "removed", state: "fail", message: leftBehind };
}
