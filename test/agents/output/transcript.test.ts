/** The readable transcript: exact for what was recorded, and the same text however the bytes come and wherever a reader goes on. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import t from "tap";
import { lineFormat, OUTPUT_FORMATS, type OutputFormat } from "../../../src/agents/output/formats.ts";
import type { Said, Understand } from "../../../src/agents/output/said.ts";
import { Transcriber } from "../../../src/agents/output/transcriber.ts";
import { progressOf, render } from "../../../src/agents/output/transcript.ts";

const understandOf = (format: OutputFormat): Understand => lineFormat(format)?.understand ?? (() => []);
const recorded = (path: string) =>
  readFileSync(fileURLToPath(new URL(`fixtures/${path}.stdout.jsonl`, import.meta.url)));

function transcriptOf(understand: Understand, bytes: Buffer): string {
  const transcriber = new Transcriber(understand);
  return transcriber.add(bytes).text + transcriber.end();
}

t.test("a run is told in order: who, what it did, what came of it, what it said, how it ended", async (t) => {
  const table: readonly (readonly [path: string, transcript: string])[] = [
    [
      "claude/denied",
      `— session ID, claude-sonnet-5-5
▸ Bash: touch refused.txt && echo done
  touch in '/home/user/code/project/refused.txt' needs approval. The path is inside the working directories for this session ('/home/user/code/project'), and Claude Code asks before a shell command creates, changes or removes files there.
  ✗ it failed
TOOL-RESULT: touch in '/home/user/code/project/refused.txt' needs approval. The path is inside the working directories for this session ('/home/user/code/project'), and Claude Code asks b
  ✗ not allowed: Bash
— done
`,
    ],
    [
      "codex/tool",
      `— session ID
▸ shell: /bin/bash -lc 'echo hello-from-the-shell'
  hello-from-the-shell
TOOL-RESULT: Chunk ID: 30bca9
Wall time: 0.0000 seconds
Process exited with code 0
Original token count: 6
Output:
hello-from-the-shell
— done
`,
    ],
    [
      // Its words come in pieces.
      "gemini/rate_limit_once",
      `— session ID, gemini-2.5-pro
All done: after a failure.
— done
`,
    ],
  ];
  for (const [path, expected] of table) {
    const [format] = path.split("/") as [OutputFormat];
    // Made anew with every recording.
    const transcript = transcriptOf(understandOf(format), recorded(path)).replace(
      /session [0-9a-f-]{36}/,
      "session ID",
    );
    t.equal(transcript.replace(/Chunk ID: \w+/, "Chunk ID: 30bca9"), expected, path);
  }
});

/** Lines as a program with pieces of messages has them; and some that say nothing, or are none. */
const piece = (content: string) => ({ type: "message", role: "assistant", content, delta: true });
const LINES: readonly string[] = [
  ...["All", " done", "\n", "ä漢🎉", "a line\n", ""].map((text) => JSON.stringify(piece(text))),
  JSON.stringify({ ...piece("whole"), delta: false }),
  JSON.stringify({ type: "tool_use", tool_name: "shell", parameters: { command: "ls" } }),
  JSON.stringify({ type: "tool_result", status: "success", output: "" }),
  JSON.stringify({ type: "error", message: "it is tried again" }),
  JSON.stringify({ type: "result", status: "success" }),
  JSON.stringify({ type: "unheard-of" }),
  "no JSON",
  "",
];

t.test("the text is the same however the bytes come, and wherever a reader goes on", async (t) => {
  const pieces = fc.record({
    format: fc.constant<OutputFormat>("gemini"),
    bytes: fc
      .tuple(fc.array(fc.constantFrom(...LINES), { maxLength: 15 }), fc.constantFrom("", "\n", '\n{"type":'))
      .map(([lines, tail]) => Buffer.from(lines.join("\n") + tail)),
  });
  const recordings = fc
    .constantFrom("claude/tool", "gemini/tool", "copilot/tool", "codex/tool", "opencode/tool")
    .map((path) => ({ format: path.split("/")[0] as OutputFormat, bytes: recorded(path) }));
  const steps = fc.array(fc.record({ length: fc.integer({ min: 1, max: 400 }), resumes: fc.boolean() }), {
    minLength: 1,
    maxLength: 30,
  });
  fc.assert(
    fc.property(
      fc.oneof({ weight: 4, arbitrary: pieces }, { weight: 1, arbitrary: recordings }),
      steps,
      ({ format, bytes }, steps) => {
        const understand = understandOf(format);
        let reader = new Transcriber(understand);
        let text = "";
        /** Where the present reader began, how far it has read, and up to where it has told. */
        let [from, at, told] = [0, 0, 0];
        for (let step = 0; at < bytes.length; step++) {
          const { length, resumes } = steps[step % steps.length] as (typeof steps)[number];
          const added = reader.add(bytes.subarray(at, at + length));
          text += added.text;
          at = Math.min(bytes.length, at + length);
          assert.ok(
            from + added.told >= told && from + added.told <= at,
            "told of what there is, and never less than before",
          );
          told = from + added.told;
          // One that read not a whole line would begin there for ever.
          if (!resumes || told === from) continue;
          reader = new Transcriber(understand);
          reader.resume(bytes.subarray(0, told));
          [from, at] = [told, told];
        }
        text += reader.end();
        assert.equal(text, transcriptOf(understand, bytes));
      },
    ),
    { numRuns: 400 },
  );
  t.pass();
});

/** Everything that can be said, with the given text wherever there is one. */
const EVERYTHING = (text: string): readonly Said[] => [
  { is: "session", id: text, model: text },
  { is: "tool", name: text, detail: text },
  { is: "refused", tool: text },
  { is: "note", text },
  { is: "error", message: text },
  { is: "tool result", ok: false, text },
  { is: "text", text },
  { is: "aborted" },
  { is: "end", text },
  { is: "usage", usage: { model: text } },
  { is: "totals", usage: { model: text } },
  { is: "limit", resetAt: 1 },
];

/** Words of an agent and output of a tool are shown as they are: who reads them knows whether he can show what steers a terminal. */
const AS_IT_IS: ReadonlySet<Said["is"]> = new Set(["text", "tool result"]);

const steering = fc
  .array(
    fc.oneof(
      fc.constantFrom("\u001b[31m", "\u001b]0;title\u0007", "\r\n", "\0", "\u202e", "\u009b2J", "\u2028", "🎉", "ab "),
      fc.string({ unit: "grapheme" }),
    ),
    { maxLength: 400 },
  )
  .map((parts) => parts.join(""));

t.test("names, details and notes are one line of bounded length, without what steers a terminal", async (t) => {
  fc.assert(
    fc.property(steering, (text) => {
      for (const said of EVERYTHING(text)) {
        const told = render(said);
        assert.ok(told === "" || told.endsWith("\n"));
        assert.equal(Buffer.from(told).toString(), told, "no half of a character");
        if (!AS_IT_IS.has(said.is)) {
          assert.doesNotMatch(told.slice(0, -1), /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
          assert.ok(told.length < 1600);
        } else if (said.is === "tool result") assert.ok(told.length < 1700);
        const action = progressOf(said);
        if (action === null) continue;
        assert.doesNotMatch(action, /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
        assert.ok(action.length <= 120);
      }
    }),
    { numRuns: 300 },
  );
  t.pass();
});

t.test("what a tool printed is cut after some lines", async (t) => {
  const shown = (text: string, ok = true) => render({ is: "tool result", ok, text });
  t.equal(shown(""), "");
  t.equal(shown("", false), "  ✗ it failed\n");
  t.equal(shown("a\nb\n\n"), "  a\n  b\n");
  t.equal(shown("x\n".repeat(12)), "  x\n".repeat(12));
  t.equal(shown("x\n".repeat(13)), `${"  x\n".repeat(12)}  …\n`);
  t.equal(shown("x".repeat(1501)), `  ${"x".repeat(1500)}\n  …\n`);
});

t.test("plain text has no transcript", async (t) => {
  t.same(
    OUTPUT_FORMATS.filter((format) => lineFormat(format) === null),
    ["text"],
  );
});
