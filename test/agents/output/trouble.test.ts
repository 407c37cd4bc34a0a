/** Words and statuses of providers, as the class that decides what happens next, and when a limit ends. */
import t from "tap";
import type { Trouble } from "../../../src/agents/output/said.ts";
import { classify, errorOf, resetTime, troubleError } from "../../../src/agents/output/trouble.ts";
import { canGetBetter, codeOf, ERROR_CLASSES, type ErrorClass } from "../../../src/core/policy/error-class.ts";

const NOW = Date.parse("2026-12-01T12:00:00Z");
const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

t.test("words and a status come to a class", async (t) => {
  const table: readonly (readonly [ErrorClass, words: string, status?: number])[] = [
    ["bad_config", "error: unknown option '--frobnicate'"],
    ["bad_config", "The model `gpt-9` does not exist", 404],
    ["bad_config", "--dangerously-skip-permissions cannot be used with root/sudo privileges"],
    ["context_overflow", "prompt is too long: 210000 tokens > 200000 maximum", 400],
    ["context_overflow", "This model's maximum context length is 128000 tokens", 400],
    ["context_overflow", "The input token count (1100000) exceeds the maximum number of tokens allowed", 400],
    ["context_overflow", "too many tokens", 429],
    ["max_turns", "Reached max turns (5)"],
    ["budget", "Reached maximum budget ($1)"],
    ["quota", "You exceeded your current quota, please check your plan and billing details", 429],
    ["quota", "Claude usage limit reached"],
    ["quota", "Your credit balance is too low to access the API", 400],
    ["quota", "whatever", 402],
    ["rate_limit", "Number of requests has exceeded your rate limit"],
    ["rate_limit", "no words for it", 429],
    ["rate_limit", "RESOURCE_EXHAUSTED"],
    ["overloaded", "Overloaded"],
    ["overloaded", "The model is experiencing high demand"],
    ["overloaded", "", 500],
    ["overloaded", "", 529],
    ["overloaded", "", 599],
    ["unknown", "", 600],
    ["unknown", "", 400],
    ["auth", "Invalid API key · Please run /login"],
    ["auth", "invalid x-api-key"],
    ["auth", "", 401],
    ["auth", "", 403],
    ["network", "connect ECONNREFUSED 127.0.0.1:1"],
    ["network", "stream disconnected before completion"],
    ["network", "", 408],
    ["context_overflow", "", 413],
    ["empty_result", "the model gave an empty response"],
    ["refused_permission", "permission denied for Bash"],
    ["unknown", "the dog ate it"],
    ["unknown", ""],
    // A status that stands in the words.
    ["auth", "API Error: 401 something"],
    ["overloaded", '{"error":{"code": 503}}'],
    ["rate_limit", "unexpected HTTP 429"],
    ["unknown", "it took 429 steps"],
    // A status says more than words that may stand anywhere in a message.
    ["overloaded", "the connection failed: unable to connect to the upstream", 503],
  ];
  for (const [expected, message, status] of table)
    t.equal(classify({ message, status }), expected, `${status} ${message}`);
});

t.test("what the format says beats everything, and an exit status only where nothing else is plain", async (t) => {
  const table: readonly (readonly [ErrorClass, Trouble, exit?: ErrorClass])[] = [
    ["max_turns", { message: "Overloaded", status: 401, class: "max_turns" }, "auth"],
    ["quota", { message: "insufficient_quota", status: 429 }, "auth"],
    ["rate_limit", { message: "", status: 429 }, "auth"],
    ["auth", { message: "overloaded" }, "auth"],
    ["auth", { message: "" }, "auth"],
    ["overloaded", { message: "overloaded" }],
  ];
  for (const [expected, trouble, exit] of table) t.equal(classify(trouble, exit), expected, JSON.stringify(trouble));
});

t.test("when a limit ends, as programs say it", async (t) => {
  const table: readonly (readonly [words: string, afterMs: number])[] = [
    [`Claude AI usage limit reached|${(NOW + HOUR) / 1000}`, HOUR],
    ["Please try again in 1h2m", HOUR + 2 * MINUTE],
    ["Please try again in 6m0s.", 6 * MINUTE],
    ["Please try again in 1.898s. Visit the site", 1898],
    ["Please try again in 20ms", 20],
    ["Your quota will reset after 12h3m20s.", 12 * HOUR + 3 * MINUTE + 20 * SECOND],
    ["try again in 2 days 3 hours 12 minutes.", 2 * DAY + 3 * HOUR + 12 * MINUTE],
    ["resets in 1 hour, 5 mins and 3 secs", HOUR + 5 * MINUTE + 3 * SECOND],
    ["Please retry in 7.5s", 7500],
    ["retry after 7 seconds", 7 * SECOND],
    ["try again after: 10 min", 10 * MINUTE],
    ["Retry-After: 7", 7 * SECOND],
    ['"retry-after":"30"', 30 * SECOND],
    ["retry after 1.5", 1500],
    ["your limit resets on 2026-12-03 at 00:00 UTC", 36 * HOUR],
    ["resets at 2026-12-01T13:00:00Z", HOUR],
    ["resets at 2026-12-01T13:00:00.250Z", HOUR + 250],
    ["resets 1pm (UTC)", HOUR],
    ["resets at 2:58am (UTC)", 14 * HOUR + 58 * MINUTE],
    ["try again at 12:30 PM (UTC)", 30 * MINUTE],
    ["resets 12am (UTC)", 12 * HOUR],
    ["resets 12pm (UTC)", DAY],
  ];
  for (const [words, afterMs] of table) {
    t.equal(resetTime(words, NOW), NOW + afterMs, words);
    const error = troubleError({ message: `rate limit: ${words}`, status: 429 }, NOW);
    t.equal(error.resetAt, NOW + afterMs, `${words}: an error knows it too`);
  }
  const local = resetTime("try again at 3:00 AM", NOW) ?? 0;
  t.ok(local > NOW && local <= NOW + DAY, "without a zone it is the next such time here");
  t.same([new Date(local).getHours(), new Date(local).getMinutes()], [3, 0]);
});

t.test("what is no time, is past or is too far away is none", async (t) => {
  const table = [
    "",
    "try again later",
    "try again in a while",
    "try again in 0s",
    "retry after 7 sandwiches",
    "retry after 1.2.3",
    "resets 99:99pm",
    "resets 0am (UTC)",
    "resets 13pm (UTC)",
    "resets 1:60pm (UTC)",
    "on 2026-13-45 at 99:99 UTC",
    "2026-99-99T00:00:00Z",
    "2020-01-01T00:00:00Z",
    "limit reached|1000000000",
    "limit reached|9999999999",
    "try again in 99999h",
    `retry-after: ${"9".repeat(400)}`,
    `try again in ${"9".repeat(400)}h`,
  ];
  for (const words of table) {
    const error = troubleError({ message: words, status: 429 }, NOW);
    t.notOk("resetAt" in error, words.slice(0, 40));
    t.equal(error.code, "RATE_LIMIT");
  }
  for (const resetAt of [0, NOW, NOW - 1, NOW + 33 * DAY, Number.NaN, Number.POSITIVE_INFINITY]) {
    t.notOk("resetAt" in troubleError({ message: "", status: 429, resetAt }, NOW), `${resetAt}`);
  }
});

t.test("only limits have an end, and a short one is a limit of requests", async (t) => {
  const words = "try again in 5m";
  for (const known of ERROR_CLASSES) {
    const { code, resetAt, message } = troubleError({ message: words, class: known }, NOW);
    const isLimit = known === "rate_limit" || known === "quota" || known === "overloaded";
    t.equal(resetAt, isLimit ? NOW + 5 * MINUTE : undefined, known);
    t.equal(code, known === "quota" ? "RATE_LIMIT" : codeOf(known), known);
    t.match(message, /^[a-z].+\(it said: try again in 5m\)$/, "a sentence");
  }
  const far = troubleError({ message: "quota exceeded, try again in 11m" }, NOW);
  t.match(far, { code: "QUOTA", resetAt: NOW + 11 * MINUTE });
  t.match(
    troubleError({ message: "no words", status: 429, resetAt: NOW + 7 }, NOW),
    { resetAt: NOW + 7 },
    "from a field",
  );
});

t.test("a session that its program does not have is no trouble of the task's", async (t) => {
  for (const message of [
    "No conversation found with session ID: x",
    "Error: Session not found",
    "no rollout found for thread",
  ]) {
    t.match(troubleError({ message, status: 404 }, NOW), { code: "RESUME_FAILED" }, message);
  }
  t.ok(canGetBetter("RESUME_FAILED"));
});

t.test("what a program said becomes one line of bounded length, without what steers a terminal", async (t) => {
  for (const said of ["x".repeat(100_000), "🎉".repeat(100_000), " a\n\u001b[31mb\u202e\r\nc\0 ".repeat(1000)]) {
    for (const errorClass of ERROR_CLASSES) {
      const { message } = errorOf(errorClass, said);
      t.ok(message.length < 1000);
      t.notMatch(message, /[\p{Cc}\p{Cf}]/u);
      t.equal(Buffer.from(message).toString(), message, "no half of a character");
    }
  }
});

t.test("no words are too many", async (t) => {
  // Each would take longer than the whole test may, were there a pattern that goes back over what it has read.
  const hostile = [
    "9",
    "1h",
    "try again in 1h1h",
    "try again in ",
    "retry after 1",
    "retry-after: ",
    "resets at ",
    "model ",
    "api key ",
    "environment variable ",
    "input token count ",
    "exceeds the model ",
    "|1",
    "2026-12-01T00:00:00.",
    " ",
    "{",
    "\n",
  ];
  for (const piece of hostile) {
    for (const head of ["", "try again in ", "retry-after: ", "resets ", "exceeds the maximum "]) {
      for (const tail of ["", "!", "x", "}"]) {
        const message = head + piece.repeat(Math.ceil(1_000_000 / piece.length)) + tail;
        const { message: sentence } = troubleError({ message }, NOW);
        if (sentence.length > 1000) t.fail(`${head}${piece}: ${sentence.length} characters`);
      }
    }
  }
  t.pass();
});
