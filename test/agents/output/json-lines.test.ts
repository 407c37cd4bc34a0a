import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import t from "tap";
import { lineFormat, OUTPUT_FORMATS } from "../../../src/agents/output/formats.ts";
import { LINE_BYTES_MAX, LineSplitter, parse, readLine } from "../../../src/agents/output/json-lines.ts";
import type { Fields, Said } from "../../../src/agents/output/said.ts";

/** Pieces of what programs print: characters of one to four bytes, both kinds of line break, JSON. */
const text = fc
  .array(fc.constantFrom("a", '{"a":1}', "ä", "漢", "🎉", "\n", "\r\n", "\n\n", " ", "\0", "\r"), { maxLength: 60 })
  .map((parts) => parts.join(""));

/** The bytes cut anywhere, in the middle of characters too. */
function cutAt(bytes: Buffer, places: readonly number[]): readonly Buffer[] {
  const cuts = [0, ...places.map((place) => place % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  return cuts.slice(1).map((end, index) => bytes.subarray(cuts[index], end));
}

/** Every chunk comes in the same buffer, which is used again as a file's reader does. */
function splitAll(splitter: LineSplitter, chunks: readonly Buffer[]): readonly string[] {
  const lines: string[] = [];
  const shared = Buffer.alloc(Math.max(0, ...chunks.map(({ length }) => length)));
  for (const chunk of chunks) {
    shared.fill(0x7b);
    chunk.copy(shared);
    lines.push(...splitter.lines(shared.subarray(0, chunk.length)));
  }
  return lines;
}

t.test("the lines are the same however the bytes are cut, and what follows the last break is the rest", async (t) => {
  fc.assert(
    fc.property(text, fc.array(fc.nat(), { maxLength: 20 }), (text, places) => {
      const bytes = Buffer.from(text);
      const splitter = new LineSplitter();
      const lines = splitAll(splitter, cutAt(bytes, places));
      const expected = text.split("\n");
      const rest = expected.pop() ?? "";
      assert.deepEqual(
        lines,
        expected.filter((line) => line !== ""),
      );
      assert.equal(splitter.rest, rest);
      assert.equal(splitter.pending, Buffer.byteLength(rest));
      assert.equal(splitter.tooLong, 0);
    }),
    { numRuns: 300 },
  );
  t.pass();
});

t.test("a line that is too long is passed over and counted, and the next one is read", async (t) => {
  const chunk = Buffer.alloc(1024 * 1024, "x");
  const table: readonly (readonly [length: number, isRead: boolean])[] = [
    [LINE_BYTES_MAX, true],
    [LINE_BYTES_MAX + 1, false],
    [3 * LINE_BYTES_MAX, false],
  ];
  for (const [length, isRead] of table) {
    const splitter = new LineSplitter();
    const lines: number[] = [];
    const take = (bytes: Buffer) => {
      for (const line of splitter.lines(bytes)) lines.push(line.length);
    };
    take(Buffer.from("first\n"));
    for (let left = length; left > 0; left -= chunk.length) take(chunk.subarray(0, Math.min(left, chunk.length)));
    t.equal(splitter.pending, length, "also what is passed over has still to be told of");
    t.equal(splitter.rest.length, isRead ? length : 0);
    take(Buffer.from("\nlast\nrest"));
    t.same(lines, isRead ? [5, length, 4] : [5, 4], `${length} bytes`);
    t.equal(splitter.tooLong, isRead ? 0 : 1);
    t.same([splitter.rest, splitter.pending], ["rest", 4]);
  }
});

t.test("what is no object of JSON says nothing", async (t) => {
  const understand = (): readonly Said[] => [{ is: "aborted" }];
  t.same(readLine('{"a":1}', understand), [{ is: "aborted" }]);
  t.same(readLine(' \t{"a":1}\r', understand), [{ is: "aborted" }]);
  const garbage = ["", " ", "{", "}", "{}{}", '{"a":1', "[]", '[{"a":1}]', "null", "1", '"{}"', "Warning: {}", "\0{}"];
  for (const line of [...garbage, "{'a':1}", "{".repeat(100_000), "[".repeat(100_000), '{"a":'.repeat(100_000)]) {
    t.same(readLine(line, understand), [], line.slice(0, 20));
  }
  fc.assert(
    fc.property(fc.json(), (text) => {
      const value: unknown = JSON.parse(text);
      assert.deepEqual(parse(text), text.startsWith("{") ? value : null);
    }),
  );
  t.not(parse(`{"a":${"[".repeat(50_000)}${"]".repeat(50_000)}}`), null, "depth is no danger either");
});

t.test("no line that was recorded can be changed into one that throws, whatever it is made of", async (t) => {
  const fixtures = fileURLToPath(new URL("fixtures/", import.meta.url));
  // Neither a text nor a number, and nothing makes one of them.
  const trap = { toString: 1, valueOf: 1 };
  let lines = 0;
  for (const format of OUTPUT_FORMATS) {
    const understand = lineFormat(format)?.understand;
    if (understand === undefined) continue;
    for (const name of readdirSync(`${fixtures}${format}`).filter((file) => file.endsWith(".stdout.jsonl"))) {
      for (const line of readFileSync(`${fixtures}${format}/${name}`, "utf8").split("\n")) {
        for (const hostile of trapsIn(parse(line), trap)) {
          lines++;
          try {
            understand(hostile as Fields);
          } catch (error) {
            t.fail(`${format}: ${error}`, { hostile });
          }
        }
      }
    }
  }
  t.ok(lines > 1000, `${lines} lines`);
});

/** The value once for each place in it, with the trap there. */
function* trapsIn(value: unknown, trap: unknown): Generator<unknown> {
  if (typeof value !== "object" || value === null) return;
  const entries = Object.entries(value).slice(0, 40);
  for (const [key, inner] of entries) {
    const copy = (at: unknown) => (Array.isArray(value) ? value.with(Number(key), at) : { ...value, [key]: at });
    yield copy(trap);
    yield copy("constructor");
    for (const changed of trapsIn(inner, trap)) yield copy(changed);
  }
}
