import t from "tap";
import { candidates } from "../../../src/core/policy/placement.ts";
import { AGENTS, anAgent, aTask } from "../world.ts";

t.test("an auto task goes to the agents that are best for one of its labels, the cheapest first", async (t) => {
  const table: readonly [labels: readonly string[], agents: readonly string[]][] = [
    [["coding"], ["copilot", "claude"]],
    [["git"], ["copilot"]],
    [
      ["research", "coding"],
      ["gemini", "copilot", "claude"],
    ],
    [["painting"], ["gemini", "copilot", "claude"]],
    [[], ["gemini", "copilot", "claude"]],
  ];
  for (const [labels, names] of table) {
    const task = aTask({ id: "t", assignee: "auto", labels });
    t.same(
      candidates(task, AGENTS).map(({ name }) => name),
      names,
      `labels ${labels}`,
    );
    t.same(
      candidates(task, AGENTS.toReversed()).map(({ name }) => name),
      names,
      "whatever the order of the config",
    );
  }
});

t.test("agents of one price go by name, and nobody who is not dispatched to is among them", async (t) => {
  const agents = [
    anAgent({ name: "b" }),
    anAgent({ name: "a" }),
    anAgent({ name: "aa", method: null, bestFor: ["x"] }),
  ];
  t.same(
    candidates(aTask({ id: "t", labels: ["x"] }), agents).map(({ name }) => name),
    ["a", "b"],
  );
  t.same(candidates(aTask({ id: "t" }), []), []);
});
