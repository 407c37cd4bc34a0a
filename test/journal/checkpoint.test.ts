import { readdirSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { Checkpoint, type CheckpointOptions } from "../../src/journal/checkpoint.ts";
import { type FileJournal, type FileJournalOptions, openFileJournal } from "../../src/journal/file-journal.ts";
import { readStateFile } from "../../src/journal/state-file.ts";
import {
  DATA_ID,
  event,
  journalOptions,
  NOW,
  segmentsIn,
  systemError,
  TestClock,
  TestLog,
  watchedDisk,
} from "./support.ts";

const STORES = ["tasks.json", "locks.json"] as const;

t.test("changes are written half a second after the first of them", async (t) => {
  const { commit, checkpoint, clock, seqs } = await fixture(t);
  checkpoint.changed([]);
  t.equal(clock.next, undefined, "nothing changed, nothing to write");
  await commit();
  checkpoint.changed(["tasks.json"]);
  clock.advance(400);
  await commit();
  checkpoint.changed(["tasks.json"]);
  t.equal(clock.next, 100);
  t.strictSame(await seqs(), [0, 0]);
  clock.advance(100);
  await checkpoint.flush();
  t.strictSame((await seqs())[0], 2);
});

t.test("only the files whose stores changed are written", async (t) => {
  const { commit, checkpoint, clock, written, idle } = await fixture(t);
  await commit();
  checkpoint.changed(["locks.json"]);
  clock.advance(500);
  await idle();
  t.strictSame(written, ["locks.json"]);
});

t.test("a flush makes every file exact", async (t) => {
  const { commit, checkpoint, seqs, written } = await fixture(t);
  await commit();
  checkpoint.changed(["tasks.json"]);
  await checkpoint.flush();
  t.strictSame(await seqs(), [1, 1]);
  written.length = 0;
  await checkpoint.flush();
  t.strictSame(written, [], "and writes nothing that is");
});

t.test("a file gets no further than the journal", async (t) => {
  const { checkpoint, journal, commit, ahead, seqs, log, faulty } = await fixture(t);
  await commit();
  await checkpoint.flush();
  faulty.operation = "datasync";
  const failed = t.rejects(journal.append(2, [event(2)]));
  ahead(2);
  checkpoint.changed(STORES);
  await t.rejects(checkpoint.flush(), { code: "STORAGE_UNAVAILABLE" });
  await failed;
  t.strictSame(await seqs(), [1, 1]);
  t.strictSame(log.warnings, [], "it is the journal's failure, not the checkpoint's");

  faulty.operation = undefined;
  ahead(1);
  await checkpoint.flush();
  await journal.reopen(2);
  await commit();
  await checkpoint.flush();
  t.strictSame(await seqs(), [2, 2]);
});

t.test("a failure is told once, tried again ever more slowly, and its end is told", async (t) => {
  const told: string[] = [];
  const { commit, checkpoint, clock, seqs, log, faulty, idle } = await fixture(t, {
    onFailure: (error) => told.push(error.message),
    onRecovered: () => told.push("recovered"),
  });
  await commit();
  faulty.operation = "replace";
  checkpoint.changed(STORES);
  clock.advance(500);
  const waits: (number | undefined)[] = [];
  for (let i = 0; i < 8; i++) {
    await idle();
    waits.push(clock.next);
    clock.advance(clock.next ?? 0);
  }
  await idle();
  t.strictSame(waits, [1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
  t.strictSame(told, ["ENOSPC: made to fail"]);
  t.equal(log.warnings.length, 1);
  await t.rejects(checkpoint.flush(), { code: "ENOSPC" });
  t.strictSame(await seqs(), [0, 0]);

  faulty.operation = undefined;
  clock.advance(30_000);
  await idle();
  t.strictSame(told, ["ENOSPC: made to fail", "recovered"]);
  t.strictSame(await seqs(), [1, 1]);
});

t.test(
  "under load writing takes a small share of the time, and a change never waits longer than the limit",
  async (t) => {
    for (const [busyMs, wait] of [
      [10, 500],
      [60, 1500],
      [120, 3000],
      [300, 4700],
      [3000, 2000],
    ] as const) {
      const { commit, checkpoint, clock, idle, busy, seqs } = await fixture(t);
      await commit();
      busy.ms = busyMs;
      checkpoint.changed(["tasks.json"]);
      clock.advance(500);
      await idle();
      await commit();
      const doneAt = clock.monotonic();
      // One after the other, always faster than what is taken for load.
      while (clock.monotonic() - doneAt < wait - 1) {
        for (let n = 0; n < 10; n++) checkpoint.changed(["tasks.json"]);
        clock.advance(Math.min(50, wait - 1 - (clock.monotonic() - doneAt)));
      }
      await idle();
      t.strictSame(await seqs(), [1, 0], `not before ${wait} ms after ${busyMs} ms of writing`);
      clock.advance(1);
      await idle();
      t.strictSame(await seqs(), [2, 0], `then at once, after ${busyMs} ms of writing`);
      await checkpoint.stop();
    }
  },
);

t.test("with few changes there is time enough: each is written soon, however long that takes", async (t) => {
  const { commit, checkpoint, clock, idle, busy, seqs } = await fixture(t);
  for (let n = 1; n <= 3; n++) {
    await commit();
    busy.ms = 300;
    checkpoint.changed(["tasks.json"]);
    t.equal(clock.next, 500);
    clock.advance(500);
    await idle();
    t.strictSame(await seqs(), [n, 0]);
  }
});

t.test("changes during a write are written after it", async (t) => {
  const { commit, checkpoint, clock, seqs, idle, during } = await fixture(t);
  await commit();
  during.write = async () => {
    during.write = undefined;
    await commit();
    checkpoint.changed(["tasks.json"]);
  };
  checkpoint.changed(["tasks.json"]);
  clock.advance(500);
  await idle();
  t.strictSame(await seqs(), [1, 0]);
  clock.advance(clock.next ?? 0);
  await idle();
  t.strictSame(await seqs(), [2, 0]);
});

t.test("stopped, it writes nothing any more", async (t) => {
  const { commit, checkpoint, clock, seqs } = await fixture(t);
  await commit();
  checkpoint.changed(["tasks.json"]);
  await checkpoint.stop();
  await checkpoint.stop();
  t.equal(clock.next, undefined);
  checkpoint.changed(["tasks.json"]);
  t.equal(clock.next, undefined);
  await t.rejects(checkpoint.flush(), /stopped/);
  t.strictSame(await seqs(), [0, 0]);
});

t.test("history", async (t) => {
  t.test("segments that all files are past go to the archive; a file that did not change follows", async (t) => {
    const { directory, commit, checkpoint, clock, idle, seqs } = await fixture(t, {}, { segmentBytesMax: 1 });
    await commit();
    await commit();
    await commit();
    checkpoint.changed(["tasks.json"]);
    clock.advance(500);
    await idle();
    t.strictSame(await seqs(), [3, 3]);
    t.strictSame(segmentsIn(directory), ["0000000000000003.jsonl"]);
    t.strictSame(archivedIn(directory), ["0000000000000001.jsonl", "0000000000000002.jsonl"]);
  });

  t.test("what could not be tidied up is tried again, though nothing changes", async (t) => {
    const told: string[] = [];
    const { directory, commit, checkpoint, clock, faulty, idle } = await fixture(
      t,
      { historyMs: 1000, onFailure: ({ message }) => told.push(message), onRecovered: () => told.push("recovered") },
      { segmentBytesMax: 1 },
    );
    for (let i = 0; i < 3; i++) await commit();
    for (const name of segmentsIn(directory))
      utimesSync(join(directory, "journal", name), NOW / 1000 - 2, NOW / 1000 - 2);
    faulty.operation = "remove";
    checkpoint.changed(STORES);
    clock.advance(500);
    await idle();
    t.equal(clock.next, 1000);
    clock.advance(1000);
    await idle();
    t.strictSame(told, ["ENOSPC: made to fail"], "a failure that goes on is no recovery");
    faulty.operation = undefined;
    clock.advance(clock.next ?? 0);
    await idle();
    t.strictSame(told, ["ENOSPC: made to fail", "recovered"]);
    t.strictSame(archivedIn(directory), []);
    t.equal(clock.next, undefined, "all is done");
  });

  t.test("what is past its time goes, once a checked copy of all files is there", async (t) => {
    const operations: string[] = [];
    const { directory, commit, checkpoint } = await fixture(
      t,
      { historyMs: 1000, onOperation: (operation) => operations.push(operation) },
      { segmentBytesMax: 1 },
    );
    for (let i = 0; i < 4; i++) await commit();
    writeFileSync(join(directory, "journal/torn-1.part"), "");
    utimesSync(join(directory, "journal/torn-1.part"), NOW / 1000 - 2, NOW / 1000 - 2);
    for (const seconds of [2, 2, 0, 0].entries()) {
      const name = `000000000000000${seconds[0] + 1}.jsonl`;
      utimesSync(join(directory, "journal", name), NOW / 1000 - seconds[1], NOW / 1000 - seconds[1]);
    }
    await checkpoint.flush();
    t.strictSame(archivedIn(directory), ["0000000000000003.jsonl"]);
    const base = join(directory, "archive/base/0000000000000004");
    t.strictSame(readdirSync(base).sort(), ["locks.json", "tasks.json"]);
    t.strictSame(readFileSync(join(base, "tasks.json")), readFileSync(join(directory, "tasks.json")));
    t.strictSame(readdirSync(join(directory, "journal")), ["0000000000000004.jsonl"], "old torn ends are gone, too");
    const moved = operations.findIndex((each) => each.startsWith("rename archive/base/"));
    const removed = operations.findIndex((each) => each.startsWith("remove archive/journal/"));
    t.ok(moved !== -1 && moved < removed, "the copy was complete before anything went");
  });

  t.test("beyond the limit on bytes the oldest go first, and one base copy replaces another", async (t) => {
    const { directory, commit, checkpoint } = await fixture(t, { historyBytesMax: 500 }, { segmentBytesMax: 1 });
    for (let i = 0; i < 6; i++) await commit();
    await checkpoint.flush();
    t.strictSame(archivedIn(directory), ["0000000000000004.jsonl", "0000000000000005.jsonl"]);
    t.strictSame(readdirSync(join(directory, "archive/base")), ["0000000000000006"]);
    for (let i = 0; i < 4; i++) await commit();
    await checkpoint.flush();
    t.strictSame(archivedIn(directory), ["0000000000000008.jsonl", "0000000000000009.jsonl"]);
    t.strictSame(readdirSync(join(directory, "archive/base")), ["0000000000000010"]);
  });

  t.test("nothing goes while a file cannot be copied whole", async (t) => {
    const { directory, commit, checkpoint, during } = await fixture(t, { historyBytesMax: 0 }, { segmentBytesMax: 1 });
    for (let i = 0; i < 3; i++) await commit();
    during.copied = (path) => {
      if (path.includes("base/begun")) writeFileSync(join(directory, "locks.json"), "damaged by someone else");
    };
    await t.rejects(checkpoint.flush(), { code: "DAMAGED_DATA", file: "locks.json" });
    t.strictSame(archivedIn(directory), ["0000000000000001.jsonl", "0000000000000002.jsonl"]);
  });
});

interface Fixture {
  readonly directory: string;
  readonly journal: FileJournal;
  readonly checkpoint: Checkpoint;
  readonly clock: TestClock;
  readonly log: TestLog;
  /** Appends one event, and the stores follow. */
  commit(): Promise<void>;
  /** The stores are at this `seq` though the journal may not be. */
  ahead(seq: number): void;
  /** What the two files contain. */
  seqs(): Promise<number[]>;
  /** Files in the order in which they were written. */
  readonly written: string[];
  /** Resolves when no write is under way. */
  idle(): Promise<void>;
  readonly faulty: { operation: string | undefined };
  /** How long each write holds the event loop. */
  readonly busy: { ms: number };
  readonly during: { write: (() => Promise<void>) | undefined; copied: ((path: string) => void) | undefined };
}

async function fixture(
  t: Test,
  more: Partial<CheckpointOptions> & { readonly onOperation?: (operation: string) => void } = {},
  journalMore: Partial<FileJournalOptions> = {},
): Promise<Fixture> {
  const directory = t.testdir();
  const clock = new TestClock();
  const log = new TestLog();
  const written: string[] = [];
  const faulty: Fixture["faulty"] = { operation: undefined };
  const busy = { ms: 0 };
  const during: Fixture["during"] = { write: undefined, copied: undefined };
  const disk = watchedDisk(async (operation, path) => {
    const relative = path.slice(directory.length + 1);
    more.onOperation?.(`${operation} ${relative}`);
    if (operation === faulty.operation) throw systemError("ENOSPC");
    if (operation === "makeDirectory") during.copied?.(relative);
    if (operation !== "replace") return;
    if (!written.includes(relative)) written.push(relative);
    await during.write?.();
  });
  const journal = await openFileJournal(journalOptions(directory, { disk, ...journalMore }));
  let seq = 0;
  const checkpoint = new Checkpoint({
    directory,
    dataId: DATA_ID,
    stores: STORES.map((name) => ({ name, snapshot: () => ({ seq, fields: slow(clock, busy), lists: {} }) })),
    fileSeqs: new Map(),
    journal,
    clock,
    log,
    disk,
    ...more,
  });
  t.teardown(async () => {
    await checkpoint.stop();
    await journal.close();
  });
  return {
    directory,
    journal,
    checkpoint,
    clock,
    log,
    written,
    faulty,
    busy,
    during,
    async commit() {
      await journal.append(journal.lastSeq + 1, [event(journal.lastSeq + 1)]);
      seq = journal.lastSeq;
    },
    ahead(to) {
      seq = to;
    },
    async seqs() {
      const files = STORES.map((name) => readStateFile(join(directory, name), { dataId: DATA_ID }));
      return (await Promise.all(files)).map((file) => file?.seq ?? 0);
    },
    idle: () => checkpoint.idle(),
  };
}

/** A field whose serialising takes time. */
function slow(clock: TestClock, busy: { readonly ms: number }): Record<string, unknown> {
  return { slow: { toJSON: () => clock.pass(busy.ms) } };
}

function archivedIn(directory: string): string[] {
  return readdirSync(join(directory, "archive/journal")).sort();
}
