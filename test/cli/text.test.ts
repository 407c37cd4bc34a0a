import fc from "fast-check";
import t from "tap";
import { cutTo, jsonText, manyLines, oneLine, widthOf } from "../../src/cli/text.ts";
import { HOSTILE } from "./samples.ts";

/** Anything that a terminal could obey, or that turns the reading direction. */
const OBEYED = /(?!\u200D)[\p{Cc}\p{Cf}\u2028\u2029]/u;
const anyText = fc.oneof(
  fc.string({ unit: "binary" }),
  fc
    .array(
      fc.constantFrom(
        "\u001b[31m",
        "\u001b]0;x\u0007",
        "\u009b",
        "\n",
        "\r",
        "\t",
        "a",
        "漢",
        "👩‍💻",
        "e\u0301",
        "\u202e",
        "\u2028",
      ),
    )
    .map((parts) => parts.join("")),
);

t.test("hostile text is shown, not obeyed", async (t) => {
  t.equal(oneLine(HOSTILE), "evil redtxt.exe second line");
  t.equal(manyLines(HOSTILE), "evil redtxt.exe\nsecond    line");
  fc.assert(fc.property(anyText, (text) => !OBEYED.test(oneLine(text))));
  fc.assert(fc.property(anyText, (text) => !OBEYED.test(manyLines(text).replaceAll("\n", ""))));
});

t.test("JSON output holds the same value and nothing that a terminal obeys", async (t) => {
  fc.assert(fc.property(anyText, (text) => !OBEYED.test(jsonText({ [text]: text }).replaceAll("\n", ""))));
  fc.assert(
    fc.property(fc.jsonValue(), (value) => JSON.stringify(JSON.parse(jsonText(value))) === JSON.stringify(value)),
  );
  t.same(JSON.parse(jsonText({ title: HOSTILE })), { title: HOSTILE });
});

t.test("widths count columns, not code units", async (t) => {
  const table: [text: string, width: number][] = [
    ["", 0],
    ["abc", 3],
    ["漢字", 4],
    ["é", 1],
    ["e\u0301", 1],
    ["👩‍💻", 2],
    ["✔️ ok", 5],
    ["한글", 4],
    ["…", 1],
  ];
  for (const [text, width] of table) t.equal(widthOf(text), width, text);
});

t.test("cut text fits", async (t) => {
  t.equal(cutTo("short", 10), "short");
  t.equal(cutTo("a long sentence", 8), "a long…");
  t.equal(cutTo("漢字漢字", 5), "漢字…");
  fc.assert(
    fc.property(
      anyText,
      fc.integer({ min: 1, max: 30 }),
      (text, width) => widthOf(cutTo(oneLine(text), width)) <= width,
    ),
  );
});
