/** What every journal promises, whatever it is made of. Run by the tests of each implementation. */
import type { Test } from "tap";
import type { Journal } from "../../src/dispatcher/ports.ts";
import { collect, event, events, stored } from "./support.ts";

/** `open` gives a journal over the same storage each time; the one before is closed. */
export function journalContract(t: Test, storage: (t: Test) => { open(): Promise<Journal> }): void {
  t.test("a new journal is empty", async (t) => {
    const journal = await storage(t).open();
    t.equal(journal.lastSeq, 0);
    t.strictSame(await collect(journal.read(1)), []);
    await journal.close();
  });

  t.test("what was appended is read in order, also by the next one who opens it", async (t) => {
    const { open } = storage(t);
    const journal = await open();
    await journal.append(1, [event(1)]);
    await journal.append(2, events(2, 4));
    t.equal(journal.lastSeq, 4);
    t.strictSame(await collect(journal.read(1)), stored(1, 4));
    t.strictSame(await collect(journal.read(3)), stored(3, 4));
    t.strictSame(await collect(journal.read(5)), []);
    await journal.close();

    const again = await open();
    t.equal(again.lastSeq, 4);
    t.strictSame(await collect(again.read(1)), stored(1, 4));
    await again.append(5, [event(5)]);
    t.strictSame(await collect(again.read(2)), stored(2, 5));
    await again.close();
  });

  t.test("an append at another seq than the next is refused and changes nothing", async (t) => {
    const journal = await storage(t).open();
    await journal.append(1, [event(1)]);
    await t.rejects(journal.append(1, [event(9)]), RangeError);
    await t.rejects(journal.append(3, [event(9)]), RangeError);
    await journal.append(2, [event(2)]);
    t.strictSame(await collect(journal.read(1)), stored(1, 2));
    await journal.close();
  });

  t.test("the next seq counts what waits to be committed", async (t) => {
    const journal = await storage(t).open();
    const appends = [journal.append(1, [event(1)]), journal.append(2, [event(2)]), journal.append(3, [event(3)])];
    t.equal(journal.lastSeq, 0, "nothing is committed yet");
    await Promise.all(appends);
    t.equal(journal.lastSeq, 3);
    await journal.close();
  });

  t.test("an event is read as soon as its append resolves, and never before", async (t) => {
    const journal = await storage(t).open();
    const committed: number[] = [];
    for (let seq = 1; seq <= 20; seq++) {
      const append = journal.append(seq, [event(seq)]).then(() => committed.push(seq));
      for await (const { seq: read } of journal.read(1)) t.ok(read <= journal.lastSeq);
      await append;
      t.strictSame((await collect(journal.read(seq))).at(-1), stored(seq, seq)[0]);
    }
    t.strictSame(
      committed,
      events(1, 20).map((_, i) => i + 1),
    );
    await journal.close();
  });

  t.test("a reader goes on while others append", async (t) => {
    const journal = await storage(t).open();
    await journal.append(1, events(1, 10));
    const seen: number[] = [];
    for await (const { seq } of journal.read(1)) {
      seen.push(seq);
      if (seq <= 10) await journal.append(10 + seq, [event(10 + seq)]);
    }
    t.strictSame(
      seen,
      stored(1, 20).map(({ seq }) => seq),
    );
    await journal.close();
  });

  t.test("any text survives", async (t) => {
    const { open } = storage(t);
    const texts = ["\n", "\r\n\u2028\u2029", '"\\,"crc":"', "\u0000", "é 漢字 😀", "\ud800 alone", "x".repeat(400_000)];
    const written = texts.map((agent, i) => ({ ...event(i), type: "agent.resumed" as const, agent }));
    const journal = await open();
    await journal.append(1, written);
    await journal.close();
    const again = await open();
    const read = await collect(again.read(1));
    t.strictSame(
      read.map(({ event }) => event),
      written,
    );
    await again.close();
  });

  t.test("appending nothing waits for what was appended before", async (t) => {
    const journal = await storage(t).open();
    const first = journal.append(1, [event(1)]);
    await journal.append(2, []);
    t.equal(journal.lastSeq, 1);
    await first;
    await journal.close();
  });

  t.test("closing writes what waits, refuses the rest, and may be asked for twice", async (t) => {
    const { open } = storage(t);
    const journal = await open();
    const waiting = journal.append(1, [event(1)]);
    const closed = Promise.all([journal.close(), journal.close()]);
    await t.rejects(journal.append(2, [event(2)]), { code: "STORAGE_UNAVAILABLE" });
    await waiting;
    await closed;
    const again = await open();
    t.strictSame(await collect(again.read(1)), stored(1, 1));
    await again.close();
  });
}
