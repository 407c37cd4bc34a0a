/** The end of a run, whatever its program left in its files: nothing throws, and nothing passes for a success that is none. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import fc from "fast-check";
import t from "tap";
import type { OutputFormat } from "../../../src/agents/output/formats.ts";
import { LINE_BYTES_MAX } from "../../../src/agents/output/json-lines.ts";
import { endOfRun } from "../../../src/agents/run-end.ts";
import type { ExitRecord } from "../../../src/agents/run-records.ts";
import type { RunEnd } from "../../../src/dispatcher/ports.ts";

const FIXTURES = fileURLToPath(new URL("fixtures/", import.meta.url));
const FORMATS = ["claude", "gemini", "copilot", "codex", "opencode"] as const;
const RESULT = "All done: the parser has 41 tests.";
const MIB = 1024 * 1024;

interface Ended {
  readonly exit?: Partial<ExitRecord>;
  readonly maxOutputBytes?: number;
}

function endOf(directory: string, output: OutputFormat, { exit = {}, maxOutputBytes = 100 * MIB }: Ended = {}) {
  return endOfRun({
    sessionId: "ses_1",
    directory,
    settings: { maxOutputBytes, output },
    exit: { status: 0, signal: null, stopped: false, timedOut: false, leftovers: [], ...exit },
    startError: null,
    agentSession: "22222222-2222-4222-8222-222222222222",
    now: Date.parse("2026-12-01T00:00:00Z"),
  });
}

const recorded = (format: OutputFormat, name = "plain") => readFileSync(join(FIXTURES, format, `${name}.stdout.jsonl`));
const recordedLines = (format: OutputFormat, name?: string) => recorded(format, name).toString().trimEnd().split("\n");

/** `null` where it did not fail. */
const codeOf = ({ outcome }: RunEnd) => (outcome.status === "completed" ? null : outcome.error.code);

/** How each says its answer in one line, and that it came to its end. */
const SAYS: Readonly<Record<(typeof FORMATS)[number], (text: string) => readonly object[]>> = {
  claude: (text) => [
    { type: "assistant", message: { content: [{ type: "text", text }] } },
    { type: "result", is_error: false, result: text },
  ],
  gemini: (text) => [
    { type: "message", role: "assistant", content: text, delta: true },
    { type: "result", status: "success" },
  ],
  copilot: (text) => [
    { type: "assistant.message", data: { content: text } },
    { type: "result", exitCode: 0 },
  ],
  codex: (text) => [{ type: "item.completed", item: { type: "agent_message", text } }, { type: "turn.completed" }],
  opencode: (text) => [
    { type: "text", part: { text } },
    { type: "step_finish", part: { reason: "stop" } },
  ],
};
const toText = (lines: readonly object[]) => lines.map((line) => `${JSON.stringify(line)}\n`).join("");

for (const format of FORMATS) {
  t.test(`${format}: output that breaks off anywhere is no success, though its program exits with 0`, async (t) => {
    const directory = t.testdir({});
    const stdout = join(directory, "stdout.log");
    const bytes = recorded(format);
    const whole = bytes.length - 1;
    t.equal(bytes[whole], 10, "it ends with a line break");
    const breaks = [...bytes.entries()].filter(([, byte]) => byte === 10).map(([at]) => at);
    const step = Math.max(1, Math.floor(bytes.length / 300));
    const cuts = new Set(breaks.flatMap((at) => [at - 1, at, at + 1]));
    for (let cut = 0; cut <= bytes.length; cut += step) cuts.add(cut);
    const wrong: string[] = [];
    writeFileSync(stdout, bytes);
    for (const cut of [...cuts].sort((a, b) => b - a)) {
      truncateSync(stdout, cut);
      const { outcome } = await endOf(directory, format);
      const expected = cut >= whole ? "completed" : "failed";
      if (outcome.status !== expected) wrong.push(`${cut} of ${bytes.length} bytes: ${outcome.status}`);
      if (outcome.status === "completed") assert.equal(outcome.result, RESULT);
      else assert.equal(outcome.error.code, "BROKEN_OFF", `${cut} bytes`);
    }
    t.same(wrong, []);
  });
}

/** What no program should write in place of a value. */
const STRANGE = [
  0,
  -1,
  1e300,
  0.5,
  null,
  true,
  false,
  [],
  [null, 1, [[]]],
  {},
  { a: { b: [] } },
  "",
  "\u001b[2J\u0000\ud83d",
  "--flag",
  "y".repeat(300_000),
  "{".repeat(300_000),
];
const GARBAGE = [
  Buffer.from("Warning: something"),
  Buffer.from('{"type":'),
  Buffer.from('{"type":"result"'),
  Buffer.from("[]"),
  Buffer.from("null"),
  Buffer.from("{}"),
  Buffer.from([0, 0xff, 0xfe, 0xc3, 0x28, 0xf0, 0x9f, 0x0d]),
  Buffer.from("\ufeff{}"),
  Buffer.alloc(70_000, "z"),
];

type Change =
  | { readonly what: "value"; readonly line: number; readonly path: number; readonly value: unknown }
  | { readonly what: "garbage"; readonly line: number; readonly bytes: Buffer };

const change: fc.Arbitrary<Change> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      what: fc.constant("value" as const),
      line: fc.nat(),
      path: fc.nat(),
      value: fc.constantFrom<unknown>(...STRANGE),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ what: fc.constant("garbage" as const), line: fc.nat(), bytes: fc.constantFrom(...GARBAGE) }),
  },
);

/** Every place in a value, as the keys that lead there. */
function placesIn(value: unknown): readonly (readonly string[])[] {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => [[key], ...placesIn(inner).map((place) => [key, ...place])]);
}

function withChange(lines: readonly Buffer[], { line, ...change }: Change): readonly Buffer[] {
  if (change.what === "garbage") return lines.toSpliced(line % (lines.length + 1), 0, change.bytes);
  const at = line % lines.length;
  let value: unknown;
  try {
    value = JSON.parse(String(lines[at]));
  } catch {
    return lines;
  }
  const places = placesIn(value);
  const place = places[change.path % places.length];
  if (place === undefined) return lines;
  const last = place.at(-1) ?? "";
  const owner = place.slice(0, -1).reduce((inner, key) => (inner as Record<string, unknown>)[key], value);
  (owner as Record<string, unknown>)[last] = change.value;
  return lines.with(at, Buffer.from(JSON.stringify(value)));
}

for (const format of FORMATS) {
  t.test(`${format}: whatever stands in its lines, nothing throws, and without an end it is no success`, async (t) => {
    const directory = t.testdir({});
    const sources = ["plain", "tool", "rate_limit", "auth"].map((name) =>
      recordedLines(format, name).map((line) => Buffer.from(line)),
    );
    const input = fc.record({
      source: fc.constantFrom(...sources),
      changes: fc.array(change, { minLength: 1, maxLength: 6 }),
      end: fc.constantFrom("whole", "without", "half"),
      status: fc.constantFrom(0, 0, 1, 137),
    });
    await fc.assert(
      fc.asyncProperty(input, async ({ source, changes, end, status }) => {
        const [last = Buffer.alloc(0)] = source.slice(-1);
        const ends = { whole: [last], without: [], half: [last.subarray(0, last.length >> 1)] }[end];
        const changed = changes.reduce(withChange, end === "whole" ? source : source.slice(0, -1));
        const lines = end === "whole" ? changed : [...changed, ...ends];
        writeFileSync(
          join(directory, "stdout.log"),
          Buffer.concat(lines.flatMap((line) => [line, Buffer.from("\n")]).slice(0, -1)),
        );
        writeFileSync(join(directory, "usage.log"), lines[0] ?? "");
        const ended = await endOf(directory, format, { exit: { status, signal: status === 137 ? "SIGKILL" : null } });
        const { outcome } = ended;
        if (end !== "whole" || status !== 0) assert.notEqual(outcome.status, "completed");
        if (outcome.status === "completed") assert.notEqual(outcome.result.trim(), "");
        else assert.ok(outcome.error.message.length > 10);
        // All of it is written down, and comes back as it was.
        assert.deepEqual(JSON.parse(JSON.stringify(ended)), ended);
        const { result: _, ...others } = outcome;
        assert.ok(JSON.stringify({ ...ended, outcome: others }).length < 10_000, "nothing long but the result");
        if (ended.agentSession !== undefined) assert.match(ended.agentSession.id, /^[\w][\w-]*$/, "no flag");
      }),
      { numRuns: 150, endOnFailure: true },
    );
    t.pass();
  });
}

t.test("as much output as one likes takes a bounded memory, and other work goes on meanwhile", async (t) => {
  const directory = t.testdir({});
  const piece = `${JSON.stringify({ type: "message", role: "assistant", content: "w".repeat(1000), delta: true })}\n`;
  const tool = `${JSON.stringify({ type: "tool_use", tool_name: "shell", parameters: { command: "c".repeat(1000) } })}\n`;
  const file = openSync(join(directory, "stdout.log"), "w");
  const write = (text: string, bytes: number) => {
    const block = Buffer.from(text.repeat(Math.ceil(MIB / text.length)));
    for (let written = 0; written < bytes; written += block.length) writeSync(file, block);
  };
  write(tool, 15 * MIB);
  writeSync(file, Buffer.alloc(LINE_BYTES_MAX + 1, "x"));
  write("no JSON at all\n", 2 * MIB);
  write(piece, 60 * MIB);
  writeSync(file, toText([{ type: "result", status: "success" }]));
  closeSync(file);

  setFlagsFromString("--expose-gc");
  const collect: () => void = runInNewContext("gc");
  const held = () => {
    collect();
    const { heapUsed, external } = process.memoryUsage();
    return heapUsed + external;
  };
  // What was freed is gone a turn later.
  held();
  await turn();
  const before = held();
  const end = { isThere: false };
  const ended = endOf(directory, "gemini").finally(() => {
    end.isThere = true;
  });
  let turns = 0;
  let most = 0;
  for (; !end.isThere; turns++) {
    if (turns % 25 === 0) most = Math.max(most, held() - before);
    await turn();
  }
  t.ok(most < 40 * MIB, `${Math.round(most / MIB)} MiB more than before`);
  // All of it is read in pieces of 256 KiB.
  t.ok(turns > 100, `others had ${turns} turns`);
  const { outcome, toolCalls } = await ended;
  t.equal(outcome.status, "completed");
  t.ok((toolCalls ?? 0) > 10_000);
  t.match(outcome.result, /^w{100000,}\n\n\[Cut: /);
  t.ok(Buffer.byteLength(outcome.result ?? "") <= MIB);
});

t.test("an answer that is longer than a comment can be is cut, with a note where the rest is", async (t) => {
  const directory = t.testdir({});
  for (const format of FORMATS) {
    for (const text of ["x".repeat(2 * MIB), "🎉".repeat(MIB / 2)]) {
      writeFileSync(join(directory, "stdout.log"), toText(SAYS[format](text)));
      const { outcome } = await endOf(directory, format);
      const { result = "" } = outcome;
      t.equal(outcome.status, "completed", format);
      t.ok(Buffer.byteLength(result) <= MIB && Buffer.byteLength(result) > MIB - 2048, format);
      t.match(
        result,
        /\n\n\[Cut: it has more than \d+ bytes\. All of it: GET \/api\/sessions\/ses_1\/log, or stdout\.log/,
      );
      t.equal(result.indexOf("\uFFFD"), -1, "no half character");
    }
    writeFileSync(join(directory, "stdout.log"), toText(SAYS[format]("x".repeat(MIB - 1024))));
    t.equal((await endOf(directory, format)).outcome.result?.length, MIB - 1024, `${format}: one that fits is whole`);
    writeFileSync(join(directory, "stdout.log"), toText(SAYS[format]("x".repeat(LINE_BYTES_MAX))));
    t.not(codeOf(await endOf(directory, format)), null, `${format}: one that nobody reads is none`);
  }
});

/** What an agent's own program can put where its output was. */
const NO_LOGS: Readonly<Record<string, (path: string) => unknown>> = {
  nothing: () => {},
  "a FIFO": (path) => execFileSync("mkfifo", [path]),
  "a link": (path) => symlinkSync("real.log", path),
  "a directory": (path) => mkdirSync(path),
};
for (const [what, put] of Object.entries(NO_LOGS)) {
  t.test(`where its output was there is ${what}: it failed, in a sentence, and nothing is waited for`, async (t) => {
    for (const format of [...FORMATS, "text"] as const) {
      for (const stream of ["stdout", "stderr", "usage"]) {
        const directory = t.testdir({ "real.log": toText(SAYS.claude("a secret of somebody else's")) });
        if (stream !== "stdout")
          writeFileSync(join(directory, "stdout.log"), toText(format === "text" ? [] : SAYS[format]("done")));
        put(join(directory, `${stream}.log`));
        const ended = await endOf(directory, format);
        if (stream === "stdout" && format !== "text") {
          t.match(
            ended,
            { outcome: { status: "failed", error: { code: "BROKEN_OFF", message: /breaks off/ } } },
            format,
          );
        } else {
          t.match(
            ended.outcome,
            { status: "completed", result: format === "text" ? "(no output)" : "done" },
            `${format}, ${stream}`,
          );
        }
        t.notMatch(JSON.stringify(ended), /secret/);
      }
    }
  });
}

t.test("a socket where its output was is none either", async (t) => {
  // The path of a socket holds 107 bytes.
  const directory = mkdtempSync(join(tmpdir(), "jarvis-"));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(join(directory, "stdout.log"), resolve));
  try {
    t.equal(codeOf(await endOf(directory, "claude")), "BROKEN_OFF");
    t.match((await endOf(directory, "text")).outcome, { status: "completed", result: "(no output)" });
  } finally {
    await new Promise((resolve) => server.close(resolve));
  }
});

t.test("who comes to the end without words, or goes on after it, has no result", async (t) => {
  const directory = t.testdir({});
  for (const format of FORMATS) {
    for (const text of ["", " \n\t"]) {
      writeFileSync(join(directory, "stdout.log"), toText(SAYS[format](text)));
      t.equal(codeOf(await endOf(directory, format)), "EMPTY_RESULT", format);
    }
    const [words, end] = SAYS[format]("first") as [object, object];
    const [more] = SAYS[format]("second") as [object];
    writeFileSync(join(directory, "stdout.log"), toText([words, end, more]));
    t.equal(codeOf(await endOf(directory, format)), "BROKEN_OFF", `${format}: an end in the middle is none`);
    writeFileSync(join(directory, "stdout.log"), toText([words, end, more, end]));
    t.equal(codeOf(await endOf(directory, format)), null, `${format}: the last one counts`);
  }
});

t.test("an error that only empty words follow is still one", async (t) => {
  const directory = t.testdir({});
  const errors: Readonly<Record<string, object>> = {
    gemini: { type: "result", status: "error", error: { message: "status: 503" } },
    copilot: { type: "session.error", data: { message: "no", statusCode: 503 } },
    opencode: { type: "error", error: { data: { message: "no", statusCode: 503 } } },
  };
  for (const [format, error] of Object.entries(errors) as [(typeof FORMATS)[number], object][]) {
    const [words, end] = SAYS[format]("some words") as [object, object];
    const [empty] = SAYS[format](" ") as [object];
    writeFileSync(join(directory, "stdout.log"), toText([words, error, empty, end]));
    t.equal(codeOf(await endOf(directory, format)), "OVERLOADED", format);
    writeFileSync(join(directory, "stdout.log"), toText([words, error, words, end]));
    t.equal(codeOf(await endOf(directory, format)), null, `${format}: it went on after it`);
  }
});

t.test("who was ended by us has not completed, whatever the output and the exit status say", async (t) => {
  const directory = t.testdir({});
  const table: readonly (readonly [Ended, expected: object])[] = [
    [{ exit: { stopped: true } }, { status: "failed", error: { code: "STOPPED" } }],
    [{ exit: { timedOut: true } }, { status: "timed_out", error: { code: "TIMED_OUT" } }],
    [{ exit: { stopped: true, timedOut: true } }, { status: "timed_out", error: { code: "TIMED_OUT" } }],
    [
      { maxOutputBytes: 200 },
      { status: "failed", error: { code: "OUTPUT_LIMIT", message: /stdout passed the limit of 200 bytes/ } },
    ],
    [
      { maxOutputBytes: 200, exit: { timedOut: true } },
      { status: "failed", error: { code: "OUTPUT_LIMIT" } },
    ],
  ];
  for (const format of [...FORMATS, "text"] as const) {
    for (const [ended, expected] of table) {
      const text = format === "text" ? `${RESULT}\n`.repeat(20) : recorded(format);
      writeFileSync(join(directory, "stdout.log"), text);
      writeFileSync(join(directory, "stderr.log"), "x".repeat(100));
      const { outcome } = await endOf(directory, format, ended);
      t.match(outcome, expected, format);
      const size = readFileSync(join(directory, "stdout.log")).length;
      t.equal(size, ended.maxOutputBytes ?? text.length, "the log is cut at the limit, and only there");
      if (ended.maxOutputBytes === undefined) t.match(outcome.result, RESULT, `${format}: what it said is kept`);
    }
    writeFileSync(join(directory, "stdout.log"), format === "text" ? RESULT : recorded(format));
    writeFileSync(join(directory, "stderr.log"), "x".repeat(100_000));
    const { outcome } = await endOf(directory, format, { maxOutputBytes: 50_000 });
    t.match(outcome, { status: "failed", error: { code: "OUTPUT_LIMIT", message: /its stderr passed/ } }, format);
  }
});

t.test("every recorded output exists for every format", async (t) => {
  t.same(readdirSync(FIXTURES).sort(), [...FORMATS].sort());
});
