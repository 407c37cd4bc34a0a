/** Why a program failed, from what it and its provider say: a class that decides what happens next, and a sentence for the user. */
import { codeOf, type ErrorClass } from "../../core/policy/error-class.ts";
import type { SessionError } from "../../core/session.ts";
import { toSentence } from "../agent-problem.ts";
import type { Trouble } from "./said.ts";

export type KnownExits = Readonly<Record<number, ErrorClass>>;

/** Words that tell more than a status does, the most telling first. */
const BY_WORDS: readonly (readonly [ErrorClass, RegExp])[] = [
  [
    "context_overflow",
    /prompt is too long|context[ _]length|context window|maximum context|input token count .*exceeds|too many tokens|request too large|exceeds the (model|maximum).*tokens/i,
  ],
  [
    "quota",
    /insufficient_quota|quota (exceeded|exhausted|reached)|exceeded your (current )?quota|exhausted your (daily )?(quota|capacity)|usage limit|credit balance|billing|payment required|out of credits|premium request/i,
  ],
  ["rate_limit", /rate.?limit|too many requests|\b429\b|resource.?exhausted/i],
  [
    "overloaded",
    /overloaded|high demand|service unavailable|bad gateway|internal server error|\b(500|502|503|529)\b|temporarily/i,
  ],
  [
    "auth",
    /unauthorized|unauthenticated|authenticat|invalid (x-)?api[- ]key|api[- ]key not (valid|found)|not logged in|please run \/login|\blog ?in\b|sign in|\b401\b|forbidden|permission_denied|auth method/i,
  ],
  [
    "network",
    /econnrefused|econnreset|etimedout|enotfound|eai_again|enetunreach|socket hang up|fetch failed|connection (error|refused|reset|closed|failed)|stream disconnected|network (error|failure)|unable to connect|terminated|premature close|error sending request/i,
  ],
  ["max_turns", /max(imum)? (number of )?(session )?turns|turn limit/i],
  ["budget", /max(imum)? budget|budget (exceeded|exhausted)/i],
  [
    "bad_config",
    /unknown (option|argument|model)|unexpected argument|model .*(not found|does not exist|not supported|not available)|model_not_found|no conversation found|session not found|no rollout found|invalid value|usage:/i,
  ],
  ["refused_permission", /permission (denied|refused)|not allowed to use|approval (is )?required/i],
];

const BY_STATUS: Readonly<Record<number, ErrorClass>> = {
  401: "auth",
  402: "quota",
  403: "auth",
  404: "bad_config",
  408: "network",
  413: "context_overflow",
  429: "rate_limit",
};

/** What kind of trouble it was; `unknown` where nothing tells. */
export function classify({ message, status, class: known }: Trouble, exit?: ErrorClass): ErrorClass {
  if (known !== undefined) return known;
  const words = BY_WORDS.find(([, pattern]) => pattern.test(message.slice(0, WORDS_READ)))?.[0];
  // A limit of requests and one of money have the same status: only words tell them apart.
  if (words === "context_overflow" || words === "quota") return words;
  const byStatus = status === undefined ? undefined : (BY_STATUS[status] ?? (status >= 500 ? "overloaded" : undefined));
  return byStatus ?? exit ?? words ?? "unknown";
}

const WORDS_READ = 8000;

/** What happened in general, and what to do about it. */
const ADVICE: Readonly<Record<ErrorClass, string>> = {
  auth: "the program could not sign in with its provider: sign in with it as the user that the daemon runs as, or hand on its key (envPass), then release the task",
  rate_limit: "the provider takes no more requests just now: it is tried again later",
  quota: "the account's quota is used up: wait until it is renewed, or raise it",
  overloaded: "the provider has trouble of its own: it is tried again later",
  network: "the provider could not be reached, or the connection was cut: look at the network if this goes on",
  not_installed: "the program is not there: install it, or give its path in the agent's command",
  bad_config:
    "the program does not take what it was started with: look at the agent's model, arguments and version, then release the task",
  refused_permission:
    "the agent was not allowed to use a tool that it needed: widen the agent's permissions (permissions, args), then release the task",
  context_overflow:
    "the task is more than the model can hold: shorten its description and comments, split it, or choose another model, then release it",
  max_turns: "it used up its turns: allow more of them (args), or split the task, then release it",
  budget: "it used up the budget that its program was given: allow more (args), then release the task",
  crashed: "the program ended before its work did",
  killed: "the program was ended from outside: memory, a restart, or a person",
  timed_out: "its time was over",
  empty_result: "the program ended without a result: look at its log",
  unknown: "look at its log",
};

/** A sentence with what the program said, if anything, and what to do. */
export function errorOf(errorClass: ErrorClass, said: string, code = codeOf(errorClass)): SessionError {
  const words = toSentence(said, SAID_LENGTH_MAX);
  const advice = ADVICE[errorClass];
  return { code, message: words === "" ? advice : `${advice} (it said: ${words})` };
}

const SAID_LENGTH_MAX = 600;

/** `errorOf` with the time from when on another try makes sense. `now`: when it was said, ms since the epoch. */
export function troubleError(trouble: Trouble, now: number, exit?: ErrorClass): SessionError {
  const errorClass = classify(trouble, exit);
  const error = errorOf(errorClass, trouble.message);
  const resetAt =
    errorClass === "rate_limit" || errorClass === "quota" || errorClass === "overloaded"
      ? resetTime(trouble.message, now)
      : null;
  return resetAt === null ? error : { ...error, resetAt };
}

/** Whatever a program says: nobody waits longer. */
const RESET_MAX_MS = 8 * 24 * 60 * 60 * 1000;

/** When a limit ends, as far as the words say: "retry after 7 s", "try again in 1h2m", "...limit reached|1798761600". */
export function resetTime(words: string, now: number): number | null {
  const text = words.slice(0, WORDS_READ);
  const epoch = /\|(\d{10})\b/.exec(text)?.[1];
  const iso = /\b(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z)/.exec(text)?.[1];
  const after =
    /(?:retry|try|reset)[a-z -]*?(?:in|after|:)?["':= ]+((?:\d+(?:\.\d+)? ?(?:ms|milliseconds?|hours?|hrs?|h|minutes?|mins?|m|seconds?|secs?|s)\b[ ,]*)+)/i.exec(
      text,
    )?.[1];
  const bare = /retry[- ]after["':= ]+(\d+(?:\.\d+)?)(?![\d.]|\s*[a-z])/i.exec(text)?.[1];
  const at =
    epoch !== undefined
      ? Number(epoch) * 1000
      : after !== undefined
        ? now + durationOf(after)
        : bare !== undefined
          ? now + Number(bare) * 1000
          : iso !== undefined
            ? Date.parse(iso)
            : Number.NaN;
  return Number.isFinite(at) && at > now && at <= now + RESET_MAX_MS ? Math.round(at) : null;
}

const UNITS: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1000 };

function durationOf(text: string): number {
  let ms = 0;
  for (const [, amount, unit = ""] of text.matchAll(/(\d+(?:\.\d+)?) ?([a-z]+)/gi))
    ms += Number(amount) * (/^(ms|millis)/i.test(unit) ? 1 : (UNITS[unit.charAt(0).toLowerCase()] ?? 0));
  return ms;
}
