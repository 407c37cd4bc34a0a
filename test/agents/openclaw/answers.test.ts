import fc from "fast-check";
import t from "tap";
import { parseFamilies, parseSessions } from "../../../src/agents/openclaw/children.ts";
import { parsePage } from "../../../src/agents/openclaw/messages.ts";

/** What JSON can hold, and what JavaScript makes of it when it is taken for text. */
const anything = fc.oneof(fc.jsonValue(), fc.constant({ toString: 1, valueOf: 1 }), fc.constant({ constructor: null }));

t.test("whatever a gateway answers is read, or is no answer; nothing in it throws", async (t) => {
  const row = fc.record(
    {
      taskId: anything,
      status: anything,
      label: anything,
      sessionKey: anything,
      key: anything,
      error: anything,
      execution: anything,
    },
    { requiredKeys: [] },
  );
  const message = fc.record(
    {
      role: anything,
      model: anything,
      usage: anything,
      content: fc.oneof(anything, fc.array(fc.record({ type: anything, text: anything, name: anything }))),
      __openclaw: anything,
      stopReason: anything,
    },
    { requiredKeys: [] },
  );
  const list = fc.oneof(anything, fc.array(fc.oneof(row, anything), { maxLength: 4 }));
  let read = 0;
  fc.assert(
    fc.property(list, list, list, fc.array(fc.oneof(message, anything), { maxLength: 4 }), (a, b, c, messages) => {
      if (parseFamilies({ active: a, recent: b, tasks: c }) !== null) read++;
      parseSessions({ sessions: a }, "label");
      parsePage({ messages, hasMore: true, nextCursor: "x" });
    }),
    { numRuns: 500 },
  );
  t.ok(read > 50, `${read} were lists`);
});
