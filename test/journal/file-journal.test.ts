import { appendFileSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import t, { type Test } from "tap";
import { DamagedData } from "../../src/journal/damage.ts";
import { realDisk } from "../../src/journal/disk.ts";
import { type FileJournalOptions, openFileJournal } from "../../src/journal/file-journal.ts";
import { journalContract } from "./contract.ts";
import {
  collect,
  event,
  events,
  journalOptions,
  type Operation,
  segmentsIn,
  stored,
  systemError,
  TestLog,
  watchedDisk,
} from "./support.ts";

const FIRST = "0000000000000001.jsonl";

t.test("contract", async (t) => {
  journalContract(t, (t) => {
    const directory = t.testdir();
    return { open: () => openFileJournal(journalOptions(directory, { disk: realDisk })) };
  });
});

t.test("contract, with a segment for every frame and nothing kept in memory", async (t) => {
  journalContract(t, (t) => {
    const directory = t.testdir();
    const options = journalOptions(directory, { segmentBytesMax: 1, recentEventsMax: 0, disk: realDisk });
    return { open: () => openFileJournal(options) };
  });
});

t.test("any events, in any batches, come back as they were", async (t) => {
  const anyEvent = fc
    .record({ agent: fc.string({ unit: "binary" }), note: fc.jsonValue() })
    .map((fields) => ({ ...event(0), ...fields }));
  const seed = Date.now();
  t.comment(`seed ${seed}`);
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(anyEvent, { minLength: 1, maxLength: 4 }), { maxLength: 5 }),
      async (batches) => {
        const directory = t.testdir();
        const journal = await openFileJournal(journalOptions(directory, { frameCharsMax: 200, recentEventsMax: 0 }));
        let seq = 1;
        const appends: Promise<void>[] = [];
        for (const batch of batches) {
          appends.push(journal.append(seq, batch));
          seq += batch.length;
        }
        await Promise.all(appends);
        const read = (await collect(journal.read(1))).map(({ event }) => event);
        await journal.close();
        // As JSON has it: -0 is 0.
        t.strictSame(read, JSON.parse(JSON.stringify(batches.flat())));
      },
    ),
    { seed, numRuns: 60 },
  );
});

t.test("appends that wait share a frame, a write and a sync", async (t) => {
  const directory = t.testdir();
  const counts = new Map<Operation, number>();
  const disk = watchedDisk((operation) => void counts.set(operation, (counts.get(operation) ?? 0) + 1));
  const journal = await openFileJournal(journalOptions(directory, { disk }));
  counts.clear();
  let seq = 1;
  await Promise.all(
    Array.from({ length: 50 }, async () => {
      for (let i = 0; i < 20; i++) {
        const own = seq++;
        await journal.append(own, [event(own)]);
      }
    }),
  );
  t.equal(journal.lastSeq, 1000);
  t.ok((counts.get("datasync") ?? 0) <= 40, `${counts.get("datasync")} syncs for 1000 appends`);
  t.equal(counts.get("write"), counts.get("datasync"));
  t.strictSame(await collect(journal.read(1)), stored(1, 1000));
  await journal.close();
});

t.test("a frame is no longer than its limit, and one append is never split", async (t) => {
  const directory = t.testdir();
  const journal = await openFileJournal(journalOptions(directory, { frameCharsMax: 200 }));
  await Promise.all([
    ...Array.from({ length: 10 }, (_, i) => journal.append(i + 1, [event(i + 1)])),
    journal.append(11, events(11, 30)),
  ]);
  await journal.close();
  const [, ...frames] = readFileSync(join(directory, "journal", FIRST), "utf8")
    .trim()
    .split("\n");
  const sizes = frames.map((line) => (JSON.parse(line) as { events: unknown[] }).events.length);
  t.strictSame(sizes, [3, 3, 3, 1, 20]);
});

t.test("segments", async (t) => {
  t.test("a full one is followed by another, named by its first seq, on disk before it is used", async (t) => {
    const directory = t.testdir();
    const operations: string[] = [];
    const disk = watchedDisk(
      (operation, path) => void operations.push(`${operation} ${path.slice(directory.length + 1)}`),
    );
    const journal = await openFileJournal(journalOptions(directory, { segmentBytesMax: 1, disk }));
    for (let seq = 1; seq <= 3; seq++) await journal.append(seq, [event(seq)]);
    t.strictSame(segmentsIn(directory), [FIRST, "0000000000000002.jsonl", "0000000000000003.jsonl"]);
    const second = "journal/0000000000000002.jsonl";
    const begun = operations.indexOf(`create ${second}`);
    t.strictSame(operations.slice(begun, begun + 6), [
      `create ${second}`,
      `write ${second}`,
      `sync ${second}`,
      "syncDirectory journal",
      `write ${second}`,
      `datasync ${second}`,
    ]);
    t.strictSame(await collect(journal.read(1)), stored(1, 3));
    await journal.close();
  });

  t.test("those that all state files are past go to the archive, and are still read", async (t) => {
    const directory = t.testdir();
    const options = journalOptions(directory, { segmentBytesMax: 1, recentEventsMax: 0 });
    const journal = await openFileJournal(options);
    for (let seq = 1; seq <= 5; seq++) await journal.append(seq, [event(seq)]);
    t.strictSame(await journal.archiveThrough(0), []);
    t.strictSame(await journal.archiveThrough(2), [FIRST, "0000000000000002.jsonl"]);
    t.strictSame(
      await journal.archiveThrough(5),
      ["0000000000000003.jsonl", "0000000000000004.jsonl"],
      "never the newest",
    );
    t.strictSame(await collect(journal.read(1)), stored(1, 5));
    await journal.close();

    const again = await openFileJournal({ ...options, replayFrom: 6, stateSeq: 5 });
    t.strictSame(await collect(again.read(1)), stored(1, 5));
    await rm(join(directory, "archive/journal", FIRST));
    await t.rejects(collect(again.read(1)), { code: "HISTORY_GONE", firstSeq: 2 });
    await again.close();
  });

  t.test("one that moves to the archive under a reader is read on", async (t) => {
    const directory = t.testdir();
    const journal = await openFileJournal(journalOptions(directory, { segmentBytesMax: 1, recentEventsMax: 0 }));
    for (let seq = 1; seq <= 6; seq++) await journal.append(seq, [event(seq)]);
    const seen: number[] = [];
    for await (const { seq } of journal.read(1)) {
      seen.push(seq);
      await journal.archiveThrough(seq + 1);
    }
    t.strictSame(seen, [1, 2, 3, 4, 5, 6]);
    await journal.close();
  });

  t.test("one that a crash left before it was used is begun again", async (t) => {
    const directory = t.testdir();
    const log = new TestLog();
    const journal = await openFileJournal(journalOptions(directory));
    await journal.append(1, [event(1)]);
    await journal.close();
    for (const begun of ["", '{"seq":2,"at":17']) {
      writeFileSync(join(directory, "journal/0000000000000002.jsonl"), begun);
      const again = await openFileJournal(journalOptions(directory, { log }));
      t.equal(again.lastSeq, 1);
      t.strictSame(segmentsIn(directory), [FIRST]);
      await again.close();
    }
  });
});

t.test("a torn end", async (t) => {
  t.test("wherever the last frame was cut, all before it is there and it is moved aside", async (t) => {
    const directory = t.testdir();
    const whole = await writeThree(directory);
    const lastFrame = whole.lastIndexOf("\n", whole.length - 2) + 1;
    for (let length = lastFrame; length < whole.length; length++) {
      const copy = t.testdir({ journal: { [FIRST]: whole.subarray(0, length) } });
      const log = new TestLog();
      const journal = await openFileJournal(journalOptions(copy, { log }));
      t.equal(journal.lastSeq, 2, `cut at ${length}`);
      await journal.append(3, [event(30)]);
      t.strictSame(
        (await collect(journal.read(1))).map(({ event }) => event),
        [event(1), event(2), event(30)],
      );
      await journal.close();
      const parts = (await readdir(join(copy, "journal"))).filter((name) => name.startsWith("torn-"));
      t.strictSame([parts.length, log.warnings.length], length === lastFrame ? [0, 0] : [1, 1]);
      if (parts[0] !== undefined) {
        t.strictSame(readFileSync(join(copy, "journal", parts[0])), whole.subarray(lastFrame, length));
      }
    }
  });

  t.test("zeros after the last frame are a torn end, too", async (t) => {
    const directory = t.testdir();
    await writeThree(directory);
    appendFileSync(join(directory, "journal", FIRST), Buffer.alloc(300));
    const journal = await openFileJournal(journalOptions(directory));
    t.equal(journal.lastSeq, 3);
    await journal.close();
  });

  t.test("is damage when a state file contains what was in it", async (t) => {
    const directory = t.testdir();
    const whole = await writeThree(directory);
    truncateSync(join(directory, "journal", FIRST), whole.length - 5);
    await refuses(t, directory, { stateSeq: 3 }, `journal/${FIRST}`);
    const journal = await openFileJournal(journalOptions(directory, { stateSeq: 2 }));
    t.equal(journal.lastSeq, 2);
    await journal.close();
  });

  t.test("is damage when a later segment was in use", async (t) => {
    const directory = t.testdir();
    const journal = await openFileJournal(journalOptions(directory, { segmentBytesMax: 1 }));
    for (let seq = 1; seq <= 3; seq++) await journal.append(seq, [event(seq)]);
    await journal.close();
    const second = join(directory, "journal/0000000000000002.jsonl");
    truncateSync(second, readFileSync(second).length - 5);
    const again = await openFileJournal(journalOptions(directory));
    await t.rejects(collect(again.read(1)), { code: "DAMAGED_DATA", file: "journal/0000000000000002.jsonl" });
    await again.close();
  });
});

t.test("damage stops the start and changes nothing", async (t) => {
  t.test("a journal that ends before a state file does, or begins after it", async (t) => {
    const directory = t.testdir();
    await writeThree(directory);
    const short = await refuses(t, directory, { stateSeq: 4 }, `journal/${FIRST}`);
    t.match(short.message, /wanted a frame with seq 4 .*found the end of the file.*jarvis-orchestrator repair/);
    await rm(join(directory, "journal", FIRST));
    await refuses(t, directory, { stateSeq: 3 }, "journal");
  });

  t.test("a segment between others that is gone", async (t) => {
    const directory = t.testdir();
    const options = journalOptions(directory, { segmentBytesMax: 1 });
    const journal = await openFileJournal(options);
    for (let seq = 1; seq <= 4; seq++) await journal.append(seq, [event(seq)]);
    await journal.close();
    await rm(join(directory, "journal/0000000000000002.jsonl"));
    const again = await openFileJournal(options);
    await t.rejects(collect(again.read(1)), {
      code: "DAMAGED_DATA",
      file: `journal/${FIRST}`,
      found: "the end of the file",
    });
    await again.close();
    await rm(join(directory, "journal", FIRST));
    await refuses(t, directory, { replayFrom: 2 }, "journal/0000000000000003.jsonl");
  });

  t.test("a segment of another data directory, or with another name", async (t) => {
    const directory = t.testdir();
    await writeThree(directory);
    await refuses(t, directory, { dataId: "another-one" }, `journal/${FIRST}`);
    await rename(join(directory, "journal", FIRST), join(directory, "journal/0000000000000002.jsonl"));
    await refuses(t, directory, { replayFrom: 2 }, "journal/0000000000000002.jsonl");
  });

  t.test("a bad frame with a good one after it", async (t) => {
    const directory = t.testdir();
    const whole = await writeThree(directory);
    const path = join(directory, "journal", FIRST);
    for (const name of ["agent-1", "agent-2"]) {
      const changed = Buffer.from(whole);
      changed[whole.indexOf(name)] = 0x41;
      writeFileSync(path, changed);
      const damage = await refuses(t, directory, {}, `journal/${FIRST}`);
      t.equal(damage.position, whole.lastIndexOf("\n", whole.indexOf(name)) + 1);
      t.notMatch(damage.message, directory, "no path of the machine");
    }
  });

  t.test("every single bit that flips is noticed, or is in a frame that a crash may have cut", async (t) => {
    const directory = t.testdir();
    const whole = await writeThree(directory);
    const lastFrame = whole.lastIndexOf("\n", whole.length - 2) + 1;
    for (let at = 0; at < whole.length; at++) {
      const changed = Buffer.from(whole);
      changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
      const copy = t.testdir({ journal: { [FIRST]: changed } });
      const ofLastFrame = at >= lastFrame && at < whole.length - 1;
      await refuses(t, copy, ofLastFrame ? { stateSeq: 3 } : {}, `journal/${FIRST}`);
    }
  });
});

t.test("a disk that fails", async (t) => {
  for (const operation of ["write", "datasync"] as const) {
    t.test(`a failed ${operation} refuses all that waits and all that comes, until it is opened again`, async (t) => {
      const directory = t.testdir();
      const faulty = { on: false };
      const written: string[] = [];
      const disk = watchedDisk((each, path) => {
        if (each === "write") written.push(path);
        if (faulty.on && each === operation) throw systemError("EIO");
      });
      const journal = await openFileJournal(journalOptions(directory, { disk }));
      await journal.append(1, [event(1)]);
      faulty.on = true;
      const first = journal.append(2, [event(2)]);
      const head = journal.committed(2);
      const second = journal.append(3, [event(3)]);
      for (const refused of [first, second, head]) await t.rejects(refused, { code: "STORAGE_UNAVAILABLE" });
      await t.rejects(journal.append(4, [event(4)]), { code: "STORAGE_UNAVAILABLE" });
      await t.rejects(journal.append(2, [event(2)]), { code: "STORAGE_UNAVAILABLE" });
      t.match(journal.failure?.message, /EIO/);
      t.equal(journal.lastSeq, 1);
      t.strictSame(await collect(journal.read(1)), stored(1, 1), "what is committed can be read");
      if (operation === "write") await t.rejects(journal.reopen(2), { code: "STORAGE_UNAVAILABLE" });

      faulty.on = false;
      await t.rejects(journal.reopen(3), RangeError);
      written.length = 0;
      await journal.reopen(2);
      t.equal(journal.failure, undefined);
      await journal.append(2, [event(20)]);
      t.notOk(written.includes(join(directory, "journal", FIRST)), "the failed segment is never written again");
      const expected = [event(1), event(20)];
      t.strictSame(
        (await collect(journal.read(1))).map(({ event }) => event),
        expected,
      );
      await journal.close();

      const again = await openFileJournal(journalOptions(directory, { recentEventsMax: 0 }));
      t.strictSame(
        (await collect(again.read(1))).map(({ event }) => event),
        expected,
        "the same after a restart",
      );
      await again.close();
    });
  }

  t.test("the segment that goes on names the valid length of the one before", async (t) => {
    const directory = t.testdir();
    const faulty = { on: false };
    const disk = watchedDisk((operation) => {
      if (faulty.on && operation === "datasync") throw systemError("EIO");
    });
    const journal = await openFileJournal(journalOptions(directory, { disk }));
    await journal.append(1, [event(1)]);
    const valid = readFileSync(join(directory, "journal", FIRST)).length;
    for (const name of ["0000000000000002.jsonl", "0000000000000002-1.jsonl"]) {
      faulty.on = true;
      await t.rejects(journal.append(2, [event(2)]), { code: "STORAGE_UNAVAILABLE" });
      faulty.on = false;
      await journal.reopen(2);
      t.ok(segmentsIn(directory).includes(name), name);
    }
    const header = readFileSync(join(directory, "journal/0000000000000002.jsonl"), "utf8").split("\n")[0] ?? "";
    t.match(JSON.parse(header), { seq: 2, continues: { segment: FIRST, bytes: valid } });
    await journal.append(2, events(2, 3));
    t.strictSame(await collect(journal.read(1)), stored(1, 3));
    t.strictSame(await journal.archiveThrough(9), [FIRST, "0000000000000002.jsonl"]);
    await journal.close();
    const again = await openFileJournal(journalOptions(directory));
    t.strictSame(await collect(again.read(1)), stored(1, 3));
    await again.close();
  });

  t.test("a segment that cannot be begun is a failure, too", async (t) => {
    const directory = t.testdir();
    const faulty = { on: false };
    const disk = watchedDisk((operation) => {
      if (faulty.on && operation === "create") throw systemError("ENOSPC");
    });
    const journal = await openFileJournal(journalOptions(directory, { disk, segmentBytesMax: 1 }));
    await journal.append(1, [event(1)]);
    faulty.on = true;
    await t.rejects(journal.append(2, [event(2)]), { code: "STORAGE_UNAVAILABLE", message: /ENOSPC/ });
    faulty.on = false;
    await journal.reopen(2);
    await journal.append(2, [event(2)]);
    t.strictSame(await collect(journal.read(1)), stored(1, 2));
    await journal.close();
  });

  t.test("a commit that failed stays failed, even when its seq is given to another event", async (t) => {
    const directory = t.testdir();
    const faulty = { on: true };
    const disk = watchedDisk((operation) => {
      if (faulty.on && operation === "datasync") throw systemError("EIO");
    });
    const journal = await openFileJournal(journalOptions(directory, { disk }));
    const append = journal.append(1, [event(1)]);
    const committed = journal.committed(1);
    await t.rejects(append);
    faulty.on = false;
    await journal.reopen(1);
    await journal.append(1, [event(10)]);
    await t.rejects(committed, { code: "STORAGE_UNAVAILABLE" });
    await journal.committed(1);
    await t.rejects(journal.committed(2), RangeError);
    await journal.close();
  });
});

t.test("an end that no state file contains is written once more at a start", async (t) => {
  // A sync that failed before may have left bytes that can be read but will never be on disk.
  const directory = t.testdir();
  const whole = await writeThree(directory);
  const written: string[] = [];
  const disk = watchedDisk((operation) => void written.push(operation));
  const journal = await openFileJournal(journalOptions(directory, { disk, stateSeq: 2 }));
  t.strictSame(written.slice(written.indexOf("open")), ["open", "write", "sync"]);
  t.strictSame(readFileSync(join(directory, "journal", FIRST)), whole);
  await journal.close();
});

/** Three frames of one event in one segment; resolves with its bytes. */
async function writeThree(directory: string): Promise<Buffer> {
  const journal = await openFileJournal(journalOptions(directory));
  for (let seq = 1; seq <= 3; seq++) await journal.append(seq, [event(seq)]);
  await journal.close();
  return readFileSync(join(directory, "journal", FIRST));
}

/** Opening, or reading all of it, finds damage and leaves every segment as it was. */
async function refuses(
  t: Test,
  directory: string,
  more: Partial<FileJournalOptions>,
  file: string,
): Promise<DamagedData> {
  const before = segmentsIn(directory).map((name) => readFileSync(join(directory, "journal", name)));
  try {
    const journal = await openFileJournal(journalOptions(directory, more));
    try {
      await collect(journal.read(more.replayFrom ?? 1));
    } finally {
      await journal.close();
    }
    t.fail("damage was not noticed");
  } catch (error) {
    if (!(error instanceof DamagedData)) throw error;
    t.equal(error.file, file);
    const after = segmentsIn(directory).map((name) => readFileSync(join(directory, "journal", name)));
    t.strictSame(after, before);
    return error;
  }
  throw new Error("unreachable");
}
