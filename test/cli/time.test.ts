import t from "tap";
import { duration, parseCount, parseDuration } from "../../src/cli/time.ts";

t.test("durations are read and written as people do", async (t) => {
  const written: [ms: number, text: string][] = [
    [-5, "0 ms"],
    [999, "999 ms"],
    [1000, "1 s"],
    [99_499, "99 s"],
    [99_500, "2 min"],
    [300_000, "5 min"],
    [5_970_000, "1.7 h"],
    [36_000_000, "10 h"],
    [200_000_000, "2 d"],
  ];
  for (const [ms, text] of written) t.equal(duration(ms), text);
  const read: [text: string, ms: number][] = [
    ["90s", 90_000],
    ["1.5h", 5_400_000],
    ["30m", 1_800_000],
    ["2d", 172_800_000],
    ["250ms", 250],
    ["60000", 60_000],
  ];
  for (const [text, ms] of read) t.equal(parseDuration(text), ms, text);
  for (const text of ["", "s", "5 s", "-1s", "1e3", "5w", "0x10"])
    t.throws(() => parseDuration(text), { code: "commander.invalidArgument" }, text);
  for (const text of ["0", "-1", "1.5", "x", ""])
    t.throws(() => parseCount(text), { code: "commander.invalidArgument" }, text);
  t.equal(parseCount("12"), 12);
});
