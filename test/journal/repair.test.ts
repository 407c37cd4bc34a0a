import { readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import t, { type Test } from "tap";
import type { StoredEvent } from "../../src/core/event.ts";
import { openArchive } from "../../src/journal/archive.ts";
import { openDataDirectory } from "../../src/journal/data-directory.ts";
import { realDisk } from "../../src/journal/disk.ts";
import { openFileJournal } from "../../src/journal/file-journal.ts";
import { copyBase } from "../../src/journal/history.ts";
import { type RepairStep, repair } from "../../src/journal/repair.ts";
import { readStateFile, type StateFile } from "../../src/journal/state-file.ts";
import { StateFileWriter, type StateSnapshot } from "../../src/journal/state-file-writer.ts";
import {
  collect,
  contentOf,
  DATA_ID,
  event,
  journalOptions,
  NOW,
  segmentsIn,
  stored,
  TestClock,
  TestLog,
} from "./support.ts";

const FILES = ["tasks.json", "locks.json", "orchestrator.json"] as const;
const ASIDE = "damaged-20261122T161500000Z";

t.test("where nothing is damaged nothing is done", async (t) => {
  for (const make of [healthy, async (t: Test) => t.testdir({ id: DATA_ID })]) {
    const directory = await make(t);
    const before = contentOf(directory);
    t.strictSame(await run(directory), []);
    t.strictSame(contentOf(directory), before);
  }
});

t.test("a damaged state file is rebuilt from the journal, and kept", async (t) => {
  for (const damage of ["", "{", "hello", undefined]) {
    const directory = await healthy(t);
    const before = contentOf(directory);
    const path = join(directory, "tasks.json");
    if (damage === undefined) rmSync(path);
    else writeFileSync(path, damage);
    const steps = await run(directory);
    t.match(steps, [{ file: "tasks.json", action: "rebuilt", lost: [] }]);
    t.equal(steps.length, 1);
    t.equal(steps[0]?.movedTo, damage === undefined ? undefined : `${ASIDE}/tasks.json`);
    if (damage !== undefined) t.equal(readFileSync(join(directory, ASIDE, "tasks.json"), "latin1"), damage);
    t.strictSame(await agents(directory, "tasks.json"), numbered(1, 10));
    const after = contentOf(directory);
    for (const [file, content] of Object.entries(before)) {
      if (file !== "tasks.json") t.equal(after[file], content, `${file} is as it was`);
    }
    t.strictSame(await run(directory), [], "then all is well");
    await starts(t, directory, 10);
  }
});

t.test("all state files at once are rebuilt", async (t) => {
  const directory = await healthy(t);
  for (const name of FILES) writeFileSync(join(directory, name), "gone");
  const steps = await run(directory);
  t.strictSame(
    steps.map(({ file, lost }) => [file, lost]),
    FILES.map((name) => [name, []]),
  );
  for (const name of FILES) t.strictSame(await agents(directory, name), numbered(1, 10));
  await starts(t, directory, 10);
});

t.test("what history no longer has comes from the base copy", async (t) => {
  const directory = await healthy(t);
  await copyBase({ directory, dataId: DATA_ID, stateFiles: FILES }, realDisk, 0);
  rmSync(join(directory, "archive/journal/0000000000000001.jsonl"));
  writeFileSync(join(directory, "tasks.json"), "");
  t.match(await run(directory), [{ file: "tasks.json", action: "rebuilt", lost: [] }]);
  t.strictSame(await agents(directory, "tasks.json"), numbered(1, 10));
  await starts(t, directory, 10);
});

t.test("without a base copy, what is in no file is named", async (t) => {
  const directory = await healthy(t);
  rmSync(join(directory, "archive/journal/0000000000000001.jsonl"));
  writeFileSync(join(directory, "tasks.json"), "");
  t.match(await run(directory), [{ file: "tasks.json", lost: [{ what: "events", fromSeq: 1, toSeq: 3 }] }]);
  t.strictSame(await agents(directory, "tasks.json"), numbered(4, 10));
});

t.test("frames damaged in the middle are skipped, and only what no file contains is lost", async (t) => {
  const directory = await healthy(t);
  const segment = "0000000000000004.jsonl";
  const path = join(directory, "journal", segment);
  const bytes = readFileSync(path);
  // Event 6: tasks.json (7) and locks.json (7) contain it, orchestrator.json (5) does not.
  bytes[bytes.indexOf("agent-6")] = 0x41;
  writeFileSync(path, bytes);
  const before = contentOf(directory);

  const steps = await run(directory);
  const lost = [{ what: "events", fromSeq: 6, toSeq: 6 }];
  t.match(steps, [
    { file: "orchestrator.json", action: "rebuilt", lost },
    { file: "journal", action: "made anew", movedTo: `${ASIDE}/journal`, lost },
  ]);
  t.equal(steps.length, 2);
  t.match(steps[1]?.reason, new RegExp(`^journal/${segment} is damaged at byte \\d+: [^.]*$`));
  for (const name of ["tasks.json", "locks.json"]) t.strictSame(await agents(directory, name), numbered(1, 10));
  t.strictSame(await agents(directory, "orchestrator.json"), [...numbered(1, 5), ...numbered(7, 10)]);

  t.strictSame(segmentsIn(directory), ["0000000000000011.jsonl"]);
  for (const [file, content] of Object.entries(before)) {
    if (file.startsWith("journal/")) t.equal(contentOf(directory)[`${ASIDE}/${file}`], content, `${file} is kept`);
  }
  t.strictSame(
    readdirSync(join(directory, "archive/base")),
    ["0000000000000010"],
    "and later repairs can build on this one",
  );
  t.strictSame(await run(directory), []);
  await starts(t, directory, 10);
});

t.test("a newline that was hit loses nothing", async (t) => {
  const directory = await healthy(t);
  const path = join(directory, "journal/0000000000000004.jsonl");
  const bytes = readFileSync(path);
  bytes[bytes.indexOf("\n", bytes.indexOf("agent-6"))] = 0x20;
  writeFileSync(path, bytes);
  t.match(await run(directory), [{ file: "journal", action: "made anew", lost: [] }]);
  t.strictSame(await agents(directory, "orchestrator.json"), numbered(1, 10));
  await starts(t, directory, 10);
});

t.test("a journal that ends before a state file does", async (t) => {
  const directory = await healthy(t);
  rmSync(join(directory, "journal/0000000000000008.jsonl"));
  await write(directory, "tasks.json", 9);
  const steps = await run(directory);
  t.match(steps, [
    { file: "locks.json", lost: [{ what: "events", fromSeq: 8, toSeq: 9 }] },
    { file: "orchestrator.json", lost: [{ what: "events", fromSeq: 8, toSeq: 9 }] },
    { file: "journal", action: "made anew", lost: [{ what: "events", fromSeq: 8, toSeq: 9 }] },
  ]);
  t.strictSame(await agents(directory, "tasks.json"), numbered(1, 9));
  t.strictSame(await agents(directory, "orchestrator.json"), numbered(1, 7));
  await starts(t, directory, 9);
});

t.test("the end of the journal that cannot be read is lost from there on", async (t) => {
  const directory = await healthy(t);
  const path = join(directory, "journal/0000000000000008.jsonl");
  const bytes = readFileSync(path);
  bytes[bytes.indexOf("agent-9")] = 0x41;
  bytes[bytes.indexOf("agent-10")] = 0x41;
  writeFileSync(path, bytes);
  const steps = await run(directory);
  t.match(steps.at(-1), { file: "journal", action: "made anew", lost: [{ what: "events", fromSeq: 9, toSeq: null }] });
  t.strictSame(await agents(directory, "tasks.json"), numbered(1, 8));
  await starts(t, directory, 8);
});

t.test("an end that a crash tore is left to the start", async (t) => {
  const directory = await healthy(t);
  const path = join(directory, "journal/0000000000000008.jsonl");
  truncateSync(path, readFileSync(path).length - 3);
  const before = contentOf(directory);
  t.strictSame(await run(directory), []);
  t.strictSame(contentOf(directory), before);
});

t.test("a journal that is gone begins again after what the state files contain", async (t) => {
  const directory = await healthy(t);
  rmSync(join(directory, "journal"), { recursive: true });
  rmSync(join(directory, "archive"), { recursive: true });
  const lost = [{ what: "events", fromSeq: 6, toSeq: 7 }];
  t.match(await run(directory), [
    { file: "orchestrator.json", action: "rebuilt", lost },
    { file: "journal", action: "made anew", lost },
  ]);
  await starts(t, directory, 7);
});

t.test("files of another data directory are put aside", async (t) => {
  const directory = await healthy(t);
  await write(directory, "locks.json", 50, "another-directory");
  t.match(await run(directory), [
    { file: "locks.json", action: "rebuilt", movedTo: `${ASIDE}/locks.json`, reason: /another-directory/, lost: [] },
  ]);
  t.strictSame(await agents(directory, "locks.json"), numbered(1, 10));
  await starts(t, directory, 10);
});

t.test("a lost or changed id is what the other files say", async (t) => {
  for (const id of ["", "fedcba9876543210", undefined]) {
    const directory = await healthy(t);
    if (id === undefined) rmSync(join(directory, "id"));
    else writeFileSync(join(directory, "id"), id);
    t.match(await run(directory), [{ file: "id", action: "rebuilt", lost: [] }]);
    t.equal(readFileSync(join(directory, "id"), "utf8"), `${DATA_ID}\n`);
    await starts(t, directory, 10);
  }
});

t.test("a damaged secret is made anew", async (t) => {
  const directory = await healthy(t);
  writeFileSync(join(directory, "secret"), "x");
  t.match(await run(directory), [{ file: "secret", action: "made anew", lost: [{ what: "tokens" }] }]);
  await starts(t, directory, 10);
});

t.test("the good lines of a damaged archive are saved", async (t) => {
  const directory = await healthy(t);
  const open = () => openArchive<{ id: string }>({ directory, name: "tasks", id: ({ id }) => id, log: new TestLog() });
  const archive = await open();
  for (const id of ["a", "b", "c", "d"]) await archive.append([{ id }]);
  await archive.close();
  const path = join(directory, "archive/tasks.jsonl");
  const bytes = readFileSync(path);
  bytes[bytes.indexOf('"id":"b"') + 6] = 0x78;
  bytes[bytes.indexOf("\n", bytes.indexOf('"id":"c"'))] = 0x20;
  writeFileSync(path, bytes);
  t.match(await run(directory), [
    {
      file: "archive/tasks.jsonl",
      action: "salvaged",
      movedTo: `${ASIDE}/archive/tasks.jsonl`,
      lost: [{ what: "records", count: 1 }],
    },
  ]);
  t.strictSame(readFileSync(join(directory, ASIDE, "archive/tasks.jsonl")), bytes);
  const again = await open();
  t.strictSame((await again.list(undefined, 9)).records, [{ id: "d" }, { id: "c" }, { id: "a" }]);
  await again.append([{ id: "e" }]);
  await again.close();
  t.strictSame(await run(directory), []);
});

t.test("files of a newer version are not touched", async (t) => {
  const directory = await healthy(t);
  const text = `{\n  "version": 2,\n  "dataId": "${DATA_ID}",\n  "seq": 3,\n  `;
  writeFileSync(
    join(directory, "locks.json"),
    `${text}"checksum": "crc32:${crc32(text).toString(16).padStart(8, "0")}"\n}\n`,
  );
  writeFileSync(join(directory, "tasks.json"), "");
  const before = contentOf(directory);
  await t.rejects(run(directory), { name: "NewerData", file: "locks.json" });
  t.strictSame(contentOf(directory), before);
});

/**
 * Events 1 to 10 in segments 1-3 (archived), 4-7 and 8-10; tasks.json contains those up to 7, locks.json up to 7,
 * orchestrator.json up to 5.
 */
async function healthy(t: Test): Promise<string> {
  const directory = t.testdir({ id: `${DATA_ID}\n`, secret: `${"ab".repeat(32)}\n` });
  for (const [from, to] of [
    [1, 3],
    [4, 7],
    [8, 10],
  ] as const) {
    const first = await openFileJournal(journalOptions(directory, { segmentBytesMax: 1 }));
    await first.append(from, [event(from)]);
    await first.close();
    const rest = await openFileJournal(journalOptions(directory));
    for (let seq = from + 1; seq <= to; seq++) await rest.append(seq, [event(seq)]);
    await rest.archiveThrough(3);
    await rest.close();
  }
  await write(directory, "tasks.json", 7);
  await write(directory, "locks.json", 7);
  await write(directory, "orchestrator.json", 5);
  return directory;
}

/** A store that remembers the agent of every event. */
function snapshotOf(seq: number, seen: readonly string[]): StateSnapshot {
  return { seq, fields: { agents: seen }, lists: {} };
}

async function write(directory: string, name: string, seq: number, dataId = DATA_ID): Promise<void> {
  await new StateFileWriter({ directory, name, dataId }).write(snapshotOf(seq, numbered(1, seq)));
}

function numbered(from: number, to: number): string[] {
  return stored(from, to).map(({ seq }) => `agent-${seq}`);
}

async function rebuild(
  files: ReadonlyMap<string, StateFile | null>,
  read: AsyncIterable<StoredEvent>,
): Promise<Map<string, StateSnapshot>> {
  const stores = [...files].map(([name, file]) => ({
    name,
    seq: file?.seq ?? 0,
    agents: [...((file?.content["agents"] as string[] | undefined) ?? [])],
  }));
  for await (const { seq, event } of read) {
    for (const store of stores) {
      if (seq <= store.seq || event.type !== "agent.resumed") continue;
      store.agents.push(event.agent);
      store.seq = seq;
    }
  }
  return new Map(stores.map(({ name, seq, agents }) => [name, snapshotOf(seq, agents)]));
}

async function run(directory: string): Promise<readonly RepairStep[]> {
  const log = new TestLog();
  return await repair({ directory, stateFiles: FILES, archives: ["tasks"], rebuild, now: () => NOW, log });
}

async function agents(directory: string, name: string): Promise<unknown> {
  return (await readStateFile(join(directory, name), { dataId: DATA_ID }))?.content["agents"];
}

/** A start as the daemon does it finds all events that a store should have, or has them already. */
async function starts(t: Test, directory: string, lastSeq: number): Promise<void> {
  const data = await openDataDirectory(directory, {
    stateFiles: FILES,
    clock: new TestClock(),
    log: new TestLog(),
    onLost: (error) => t.fail(error.message),
  });
  const files = FILES.map((name) => readStateFile(join(directory, name), { dataId: data.id }));
  const seqs = (await Promise.all(files)).map((file) => file?.seq ?? 0);
  const replayFrom = Math.min(...seqs) + 1;
  const journal = await openFileJournal(journalOptions(directory, { replayFrom, stateSeq: Math.max(...seqs) }));
  t.equal(journal.lastSeq, lastSeq);
  t.equal((await collect(journal.read(replayFrom))).length, lastSeq - replayFrom + 1);
  await journal.append(lastSeq + 1, [event(lastSeq + 1)]);
  await journal.close();
  await data.close();
}
