import fc from "fast-check";
import t from "tap";
import { parseJson } from "../../src/config/json-text.ts";

/** Good JSON in odd clothes, and the same with characters taken out or put in. */
const nearlyJson = fc
  .tuple(
    fc.json({ maxDepth: 4 }),
    fc.nat(),
    fc.constantFrom("", ",", "}", "]", '"', "\\", "\n", "-", "e", "0", "x", "\t", "\u0000"),
    fc.nat(2),
  )
  .map(([text, place, put, cut]) => {
    const at = place % (text.length + 1);
    return text.slice(0, at) + put + text.slice(at + cut);
  });

t.test("says yes to what JSON.parse says yes to, with the same value, and no to the rest", async () => {
  fc.assert(
    fc.property(nearlyJson, (text) => {
      const read = parseJson(text);
      try {
        const expected: unknown = JSON.parse(text);
        return read.ok
          ? JSON.stringify(read.value) === JSON.stringify(expected)
          : /a second time|__proto__/.test(read.found);
      } catch {
        return !read.ok && read.line >= 1 && read.column >= 1;
      }
    }),
    { numRuns: 3000 },
  );
});

t.test("names the place and what is wrong there", async (t) => {
  const table: [text: string, line: number, column: number, found: string, wanted: string][] = [
    ["", 1, 1, "the end of the file", "a value"],
    ["{", 1, 2, "the end of the file", "a key in double quotes"],
    ["{'a': 1}", 1, 2, `"'"`, "a key in double quotes"],
    ['{"a" 1}', 1, 6, '"1"', '":" after the key'],
    ['{"a": tru}', 1, 7, '"tru"', "a value"],
    ['{"a": 01}', 1, 7, '"01"', "a value"],
    ['{"a": 1\n "b": 2}', 2, 2, '"\\""', '"," or "}"'],
    ["[1, 2,\n]", 2, 1, '"]" after a comma', "another value (JSON has no comma after the last one)"],
    ['["a\nb"]', 1, 4, "the end of the line", "a closing double quote"],
    ["{} x", 1, 4, '"x"', "nothing after the closing bracket"],
    ['["C:\\dir"]', 1, 5, "a backslash", '"\\\\" for a backslash, or one of \\" \\/ \\b \\f \\n \\r \\t \\u0000'],
    ["/* x */ {}", 1, 1, "a comment (JSON has none)", "a value"],
    ["\u001b", 1, 1, "a control character", "a value"],
    ['{"__proto__": {}}', 1, 2, 'the key "__proto__"', "another name"],
    ['{"\\u005f_proto__": {}}', 1, 2, 'the key "__proto__"', "another name"],
    ['{"a": 1,\n "\\u0061": 2}', 2, 2, 'the key "a" a second time', "each key once"],
  ];
  for (const [text, line, column, found, wanted] of table) {
    t.same(parseJson(text), { ok: false, line, column, found, wanted }, JSON.stringify(text));
  }
});

t.test("deep nesting is refused, not followed", async (t) => {
  t.match(parseJson("[".repeat(100_000)), { ok: false, found: "a value nested too deeply" });
});

t.test("a byte order mark is let pass", async (t) => {
  t.same(parseJson('\uFEFF{"a": 1}'), { ok: true, value: { a: 1 } });
});
