import fc from "fast-check";
import t from "tap";
import { nearest } from "../../src/config/nearest.ts";

t.test("finds what was meant, and nothing where nothing is close", async (t) => {
  const known = ["host", "port", "publicUrl", "maxConcurrent", "maxAttempts"];
  const table: [typed: string, meant: string | null][] = [
    ["prot", "port"],
    ["Port", "port"],
    ["hosts", "host"],
    ["hst", "host"],
    ["publicurl", "publicUrl"],
    ["public_url", "publicUrl"],
    ["maxConcurency", "maxConcurrent"],
    ["maxAttempt", "maxAttempts"],
    ["concurrency", null],
    ["x", null],
    ["", null],
  ];
  for (const [typed, meant] of table) t.equal(nearest(typed, known), meant, typed);
});

t.test("a known word is nearest to itself; one slip in four letters or more still finds one", async () => {
  const words = fc.uniqueArray(fc.stringMatching(/^[a-z]{4,10}$/), { minLength: 1, maxLength: 5 });
  fc.assert(
    fc.property(words, fc.nat(), (known, pick) => {
      const word = known[pick % known.length] ?? "";
      const slipped = word.slice(0, pick % word.length) + word.slice((pick % word.length) + 1);
      return nearest(word, known) === word && nearest(slipped, known) !== null;
    }),
  );
});
