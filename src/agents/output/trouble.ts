/** Why a program failed, from what it and its provider say: a class that decides what happens next, and a sentence for the user. */
import { codeOf, type ErrorClass } from "../../core/policy/error-class.ts";
import type { SessionError } from "../../core/session.ts";
import { toSentence } from "../agent-problem.ts";
import type { Trouble } from "./said.ts";

export type KnownExits = Readonly<Record<number, ErrorClass>>;

/** Words that tell what it was, the most telling first. */
const BY_WORDS: readonly (readonly [ErrorClass, RegExp])[] = [
  [
    "bad_config",
    /unknown (option|argument|model)s?\b|unexpected argument|model .*(not found|does not exist|not supported|not available)|model_not_found|cannot be used with root|invalid value for/i,
  ],
  [
    "context_overflow",
    /prompt (is|as) too long|context[ _]length|context window|maximum context|input token count .*exceeds|too many tokens|request too large|payload (size exceeds|too large)|exceeds the (model|maximum).*tokens/i,
  ],
  ["max_turns", /max(imum)? (number of )?(session )?turns|turn limit/i],
  ["budget", /reached maximum budget|max budget|budget (exceeded|exhausted)/i],
  [
    "quota",
    /insufficient_quota|quota (exceeded|exhausted|reached)|exceeded your (current )?quota|exhausted your (daily )?(quota|capacity)|(usage|hour|daily|weekly|monthly|session) limits?\b|credit balance|billing|payment required|out of credits|premium request/i,
  ],
  ["rate_limit", /rate.?limit|too many requests|resource.?exhausted/i],
  [
    "overloaded",
    /overloaded|high demand|at capacity|service unavailable|bad gateway|internal (server )?error|server had an error/i,
  ],
  [
    "auth",
    /unauthorized|unauthenticated|authenticat|invalid (x-)?api[- ]key|api[- ]key not (valid|found)|incorrect api key|not logged in|run \/login|sign in|permission_denied|auth method|missing environment variable|(environment variable|api key).*(must|missing)|must specify the .*_API_KEY|do(es)? not have access/i,
  ],
  [
    "network",
    /econnrefused|econnreset|etimedout|enotfound|eai_again|enetunreach|socket (hang up|connection)|fetch failed|cannot connect|unable to connect|connection (error|refused|reset|closed|dropped|failed)|stream disconnected|network (error|failure)|error (sending request|reading a body|decoding response)|unexpected eof|premature close|API Error: terminated/i,
  ],
  ["empty_result", /empty response|no response was returned/i],
  ["refused_permission", /permission (denied|refused)|not allowed to use|approval (is )?required/i],
];

/** A program that was told to go on with a session that it does not have (any more): the next attempt begins anew. */
const RESUME_FAILED =
  /no conversation found|session not found|no rollout found|no previous sessions|error resuming session|no session, task, or name matched/i;

const BY_STATUS: Readonly<Record<number, ErrorClass>> = {
  401: "auth",
  402: "quota",
  403: "auth",
  404: "bad_config",
  408: "network",
  413: "context_overflow",
  429: "rate_limit",
};

/** What kind of trouble it was; `unknown` where nothing tells. `exit`: what the program's exit status says of it. */
export function classify({ message, status, class: known }: Trouble, exit?: ErrorClass): ErrorClass {
  if (known !== undefined) return known;
  const text = message.slice(0, WORDS_READ);
  const words = BY_WORDS.find(([, pattern]) => pattern.test(text))?.[0];
  // Limits of requests and of money have one status, and a length that is too much has several: words tell them apart.
  if (words === "context_overflow" || words === "quota") return words;
  return classOfStatus(status ?? statusIn(text)) ?? exit ?? words ?? "unknown";
}

const WORDS_READ = 8000;

function classOfStatus(status: number | undefined): ErrorClass | undefined {
  if (status === undefined) return undefined;
  return BY_STATUS[status] ?? (status >= 500 && status < 600 ? "overloaded" : undefined);
}

/** The provider's status, where a program puts it into its words. */
function statusIn(text: string): number | undefined {
  const found = /(?:"code": ?|\bHTTP |\bstatus:? |\bAPI Error: |\bError: |^)([45]\d\d)\b/i.exec(text)?.[1];
  return found === undefined ? undefined : Number(found);
}

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
  if (RESUME_FAILED.test(trouble.message)) return errorOf("unknown", trouble.message, "RESUME_FAILED");
  const errorClass = classify(trouble, exit);
  const told = LIMITS.has(errorClass) ? validReset(trouble.resetAt ?? resetTime(trouble.message, now), now) : null;
  // Of a provider that calls each of its limits a quota: one that is over within the hour is a limit of requests.
  const isShort = errorClass === "quota" && told !== null && told - now <= SHORT_MS;
  const error = errorOf(isShort ? "rate_limit" : errorClass, trouble.message);
  return told === null ? error : { ...error, resetAt: told };
}

const LIMITS: ReadonlySet<ErrorClass> = new Set(["rate_limit", "quota", "overloaded"]);
const SHORT_MS = 10 * 60 * 1000;
const DAY_MS = 24 * 60 * 60 * 1000;
/** Whatever a program says: nobody waits longer. */
const RESET_MAX_MS = 32 * DAY_MS;

function validReset(at: number | null, now: number): number | null {
  return at !== null && Number.isFinite(at) && at > now && at <= now + RESET_MAX_MS ? Math.round(at) : null;
}

const DURATION = String.raw`((?:\d+(?:\.\d+)? ?(?:ms|milliseconds?|days?|d|hours?|hrs?|h|minutes?|mins?|m|seconds?|secs?|s)(?![a-z])[ ,]*(?:and )?)+)`;
/** Each finds a time in words, with what it makes of it. */
const RESETS: readonly (readonly [RegExp, (found: readonly string[], now: number) => number])[] = [
  // "...limit reached|1798761600"
  [/\|(\d{10})\b/, ([seconds]) => Number(seconds) * 1000],
  // "try again in 1h2m", "retry after 7s", "try again in 3 days 4 hours"
  [
    new RegExp(`(?:retry|try again|resets?)[- ](?:in|after):? ?${DURATION}`, "i"),
    ([text = ""], now) => now + durationOf(text),
  ],
  // "Retry-After: 7"
  [/retry[- ]after["':= ]+(\d+(?:\.\d+)?)(?![\d.]|\s*[a-z])/i, ([seconds], now) => now + Number(seconds) * 1000],
  // "on 2030-01-01 at 00:00 UTC"
  [/\b(\d{4}-\d\d-\d\d) at (\d\d:\d\d) UTC/, ([day, time]) => Date.parse(`${day}T${time}:00Z`)],
  [/\b(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z)/, ([at = ""]) => Date.parse(at)],
  // "try again at Dec 1st, 2026 2:58 AM"
  [
    /(?:resets?|try again) (?:at|on) ([A-Z][a-z]{2} \d{1,2})(?:st|nd|rd|th)?,? (\d{4}) (\d{1,2}:\d\d ?[AP]M)/,
    ([day, year, time]) => Date.parse(`${day}, ${year} ${time}`),
  ],
  // "resets 2:58am (UTC)", "try again at 3:00 AM": the next such time
  [
    /(?:resets?|try again)(?: at)? (\d{1,2})(?::(\d\d))? ?([ap])m( \(UTC\))?/i,
    ([hour, minute = "0", half = "a", zone = ""], now) =>
      nextTime(Number(hour), Number(minute), half, zone !== "", now),
  ],
];

/** When a limit ends, as far as the words say, ms since the epoch. */
export function resetTime(words: string, now: number): number | null {
  const text = words.slice(0, WORDS_READ);
  for (const [pattern, time] of RESETS) {
    const found = pattern.exec(text);
    if (found !== null) return time(found.slice(1), now);
  }
  return null;
}

const UNITS: Readonly<Record<string, number>> = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1000 };

function durationOf(text: string): number {
  let ms = 0;
  for (const [, amount, unit = ""] of text.matchAll(/(\d+(?:\.\d+)?) ?([a-z]+)/gi))
    ms += Number(amount) * (/^(ms|millis)/i.test(unit) ? 1 : (UNITS[unit.charAt(0).toLowerCase()] ?? 0));
  return ms;
}

/** Without a zone, a program means the time where it runs, which mostly is here. */
function nextTime(hour: number, minute: number, half: string, isUtc: boolean, now: number): number {
  if (hour < 1 || hour > 12 || minute > 59) return Number.NaN;
  const hours = (hour % 12) + (half.toLowerCase() === "p" ? 12 : 0);
  const at = new Date(now);
  if (isUtc) at.setUTCHours(hours, minute, 0, 0);
  else at.setHours(hours, minute, 0, 0);
  return at.getTime() > now ? at.getTime() : at.getTime() + DAY_MS;
}
