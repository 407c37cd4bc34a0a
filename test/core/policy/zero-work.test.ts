import t from "tap";
import { zeroWork } from "../../../src/core/policy/zero-work.ts";

t.test(
  "who is done at once and used no tool is looked at; who used one, took his time or does not tell is not",
  async (t) => {
    const table: readonly (readonly [toolCalls: number | undefined, durationMs: number, seconds: number | null])[] = [
      [0, 0, 1],
      [0, -5, 1],
      [0, 400, 1],
      [0, 2600, 3],
      [0, 14_999, 15],
      [0, 15_000, null],
      [0, 3_600_000, null],
      [1, 0, null],
      [100, 5000, null],
      [undefined, 0, null],
    ];
    for (const [toolCalls, durationMs, seconds] of table) {
      const warnings = zeroWork(toolCalls, durationMs);
      const what = `${toolCalls} tools in ${durationMs} ms`;
      if (seconds === null) t.same(warnings, [], what);
      else t.match(warnings, [{ code: "ZERO_WORK", message: new RegExp(`done within ${seconds} s `) }], what);
    }
  },
);
