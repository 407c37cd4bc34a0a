import fc from "fast-check";
import t from "tap";
import {
  ANSWERS_KEPT_MS,
  ANSWERS_MAX,
  ANSWERS_SIZE_MAX,
  emptyLedger,
  foldLedger,
  type Ledger,
} from "../../src/core/ledger.ts";
import { answer } from "./simulation.ts";
import { START } from "./world.ts";

function tell(ledger: Ledger, key: string, body: string, at = START): void {
  foldLedger(ledger, { type: "request.answered", at, answer: answer(key, body) });
}

const keys = (ledger: Ledger) => [...ledger.answers.keys()];

t.test("an answer is kept for 24 h and goes with the first answer after that", async (t) => {
  const ledger = emptyLedger();
  tell(ledger, "a", "1");
  tell(ledger, "b", "22", START + 1);
  tell(ledger, "c", "333", START + ANSWERS_KEPT_MS - 1);
  t.same(keys(ledger), ["a", "b", "c"]);
  tell(ledger, "d", "", START + ANSWERS_KEPT_MS);
  t.same(keys(ledger), ["b", "c", "d"]);
  t.equal(ledger.answersSize, 5);
  tell(ledger, "e", "", START + 10 * ANSWERS_KEPT_MS);
  t.same(keys(ledger), ["e"]);
  t.equal(ledger.answersSize, 0);
});

t.test("the same key again takes the place of the older answer and is the newest", async (t) => {
  const ledger = emptyLedger();
  tell(ledger, "a", "1");
  tell(ledger, "b", "22");
  tell(ledger, "a", "4444");
  t.same(keys(ledger), ["b", "a"]);
  t.equal(ledger.answers.get("a")?.body, "4444");
  t.equal(ledger.answersSize, 6);
});

t.test("past the number of answers the oldest go early", async (t) => {
  const ledger = emptyLedger();
  for (let n = 0; n < ANSWERS_MAX + 3; n++) tell(ledger, `k${n}`, "x");
  t.equal(ledger.answers.size, ANSWERS_MAX);
  t.equal(keys(ledger)[0], "k3");
  t.equal(ledger.answersSize, ANSWERS_MAX);
});

t.test("past their size the oldest go early, but never the newest", async (t) => {
  const ledger = emptyLedger();
  const half = "x".repeat(ANSWERS_SIZE_MAX / 2);
  tell(ledger, "a", half);
  tell(ledger, "b", half);
  t.same(keys(ledger), ["a", "b"], "just within");
  tell(ledger, "c", "x");
  t.same(keys(ledger), ["b", "c"]);
  tell(ledger, "d", `${half}${half}x`);
  t.same(keys(ledger), ["d"]);
});

t.test("clocks that jump back keep the sizes right", async (t) => {
  const step = fc.record({
    key: fc.constantFrom("a", "b", "c", "d"),
    size: fc.nat({ max: 9 }),
    at: fc.nat({ max: 3 * ANSWERS_KEPT_MS }),
  });
  fc.assert(
    fc.property(fc.array(step), (steps) => {
      const ledger = emptyLedger();
      for (const { key, size, at } of steps) {
        tell(ledger, key, "x".repeat(size), at);
        if (keys(ledger).at(-1) !== key) return false;
        if ([...ledger.answers.values()].reduce((sum, { body }) => sum + body.length, 0) !== ledger.answersSize)
          return false;
      }
      return true;
    }),
  );
  t.pass();
});

t.test("the fence is the highest that any lock ever had, its holder gone or not", async (t) => {
  const ledger = emptyLedger();
  const lock = {
    id: "l",
    sessionId: "s",
    taskId: "t",
    agent: "a",
    workspace: null,
    paths: ["x"],
    mode: "exclusive",
    acquiredAt: START,
  } as const;
  foldLedger(ledger, { type: "lock.acquired", at: START, lock: { ...lock, fence: 3 } });
  foldLedger(ledger, { type: "lock.released", at: START, lockId: "l", sessionId: "s", why: "released" });
  t.equal(ledger.fence, 3);
});
