import { readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import fc from "fast-check";
import t, { type Test } from "tap";
import { DamagedData, NewerData } from "../../src/journal/damage.ts";
import { readStateFile, verifyStateFile } from "../../src/journal/state-file.ts";
import { type RecordList, StateFileWriter, type StateSnapshot } from "../../src/journal/state-file-writer.ts";
import { DATA_ID, systemError, watchedDisk } from "./support.ts";

interface Item {
  readonly id: string;
  readonly text: string;
}

const NAME = "tasks.json";

t.test("a state file reads like JSON that a person would write", async (t) => {
  const directory = t.testdir();
  const fields = { totalDispatched: 3, byAgent: { gemini: { dispatched: 3 } }, nothing: {}, absent: undefined };
  await writer(directory).write({ seq: 7, fields, lists: { tasks: items([item("a"), item("b")]), done: items([]) } });
  const text = readFileSync(join(directory, NAME), "utf8");
  const value = JSON.parse(text) as Record<string, unknown>;
  t.equal(text, `${JSON.stringify(value, null, 2)}\n`);
  t.strictSame(Object.keys(value), [
    "version",
    "dataId",
    "seq",
    "totalDispatched",
    "byAgent",
    "nothing",
    "tasks",
    "done",
    "checksum",
  ]);
  t.equal(
    value["checksum"],
    `crc32:${crc32(text.slice(0, text.indexOf('"checksum"')))
      .toString(16)
      .padStart(8, "0")}`,
  );
  t.equal(statSync(join(directory, NAME)).mode & 0o777, 0o600);
  t.strictSame(readdirSync(directory), [NAME], "nothing else is left");

  const { version, dataId, seq, content } = (await readStateFile(join(directory, NAME), { dataId: DATA_ID })) ?? {};
  t.strictSame({ version, dataId, seq }, { version: 1, dataId: DATA_ID, seq: 7 });
  t.strictSame(content, {
    totalDispatched: 3,
    byAgent: { gemini: { dispatched: 3 } },
    nothing: {},
    tasks: [item("a"), item("b")],
    done: [],
  });
  t.equal(await verifyStateFile(join(directory, NAME), { dataId: DATA_ID }), 7);
});

t.test("a file that is not there is no state", async (t) => {
  t.equal(await readStateFile(join(t.testdir(), NAME), { dataId: DATA_ID }), null);
});

t.test("however the records change, the file is what writing all of it anew would give", async (t) => {
  const seed = Date.now();
  t.comment(`seed ${seed}`);
  const id = fc.constantFrom("a", "b", "c", "d", "é");
  const change = fc.oneof(
    fc.record({ put: id, text: fc.string({ unit: "grapheme", maxLength: 90 }) }),
    fc.record({ remove: id }),
    fc.constant({ reverse: true }),
    fc.constant({ write: true }),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(change, { maxLength: 25 }),
      fc.integer({ min: 1, max: 300 }),
      async (changes, pieceBytes) => {
        const directory = t.testdir();
        const out = writer(directory, { pieceBytes });
        let records: Item[] = [];
        let seq = 0;
        for (const each of [...changes, { write: true }]) {
          if ("put" in each) records = [...records.filter(({ id }) => id !== each.put), item(each.put, each.text)];
          else if ("remove" in each) records = records.filter(({ id }) => id !== each.remove);
          else if ("reverse" in each) records = records.toReversed();
          else {
            await out.write({ seq: ++seq, fields: {}, lists: { tasks: items(records) } });
            const file = await readStateFile(join(directory, NAME), { dataId: DATA_ID });
            t.strictSame(file?.content["tasks"], records);
            t.equal(file?.seq, seq);
          }
        }
      },
    ),
    { seed, numRuns: 60 },
  );
});

t.test("only what changed is serialised again", async (t) => {
  const encoded: string[] = [];
  const records = [item("a"), item("b"), item("c")];
  const list = (of: readonly Item[]): RecordList<Item> => ({
    records: of,
    key: ({ id }) => id,
    encode(record) {
      encoded.push(record.id);
      return record;
    },
  });
  const out = writer(t.testdir());
  t.equal((await out.write({ seq: 1, fields: {}, lists: { tasks: list(records) } })).serialised, 3);
  encoded.length = 0;
  t.equal((await out.write({ seq: 2, fields: {}, lists: { tasks: list(records) } })).serialised, 0);
  await out.write({ seq: 3, fields: {}, lists: { tasks: list(records.with(1, item("b", "new"))) } });
  t.strictSame(encoded, ["b"]);
});

t.test("everything else has a turn after each piece, however much there is to write", async (t) => {
  let turns = 0;
  let longest = 0;
  let putInOneTurn = 0;
  const disk = watchedDisk((operation) => {
    if (operation !== "replace") return;
    longest = Math.max(longest, putInOneTurn);
    putInOneTurn = 0;
    turns++;
  });
  const records = Array.from({ length: 2000 }, (_, i) => item(String(i), "x".repeat(1000)));
  const list: RecordList<Item> = {
    records,
    key: ({ id }) => id,
    encode(record) {
      putInOneTurn++;
      return record;
    },
  };
  const out = writer(t.testdir(), { disk, pieceBytes: 64 * 1024 });
  const { bytes, serialised } = await out.write({ seq: 1, fields: {}, lists: { tasks: list } });
  t.equal(serialised, 2000);
  t.ok(turns >= bytes / (64 * 1024), `${turns} turns for ${bytes} bytes`);
  t.ok(longest <= 64, `${longest} records in one turn`);
});

t.test("a write that fails leaves the old file and nothing else", async (t) => {
  const directory = t.testdir();
  const faulty = { at: Number.POSITIVE_INFINITY };
  let pieces = 0;
  const disk = watchedDisk((operation) => {
    if (operation === "replace" && ++pieces >= faulty.at) throw systemError("ENOSPC");
  });
  const out = writer(directory, { disk, pieceBytes: 256 });
  const records = Array.from({ length: 20 }, (_, i) => item(String(i)));
  await out.write({ seq: 1, fields: {}, lists: { tasks: items(records) } });
  const before = readFileSync(join(directory, NAME));
  const changed = records.map(({ id }) => item(id, "changed"));
  for (faulty.at = 1; faulty.at <= 6; faulty.at++) {
    pieces = 0;
    await t.rejects(out.write({ seq: 2, fields: {}, lists: { tasks: items(changed) } }), { code: "ENOSPC" });
    t.strictSame(readFileSync(join(directory, NAME)), before);
    t.strictSame(readdirSync(directory), [NAME]);
  }
  faulty.at = Number.POSITIVE_INFINITY;
  await out.write({ seq: 2, fields: {}, lists: { tasks: items(changed) } });
  t.strictSame((await readStateFile(join(directory, NAME), { dataId: DATA_ID }))?.content["tasks"], changed);
});

t.test("a file never gets ahead of the journal", async (t) => {
  const directory = t.testdir();
  const out = writer(directory);
  await out.write({ seq: 1, fields: {}, lists: {} });
  await t.rejects(
    out.write({ seq: 2, fields: {}, lists: {} }, Promise.reject(new Error("not committed"))),
    /not committed/,
  );
  t.equal(await verifyStateFile(join(directory, NAME), { dataId: DATA_ID }), 1);

  let commit = (): void => {};
  const writing = out.write({ seq: 3, fields: {}, lists: {} }, new Promise((resolve) => (commit = resolve)));
  t.equal(await verifyStateFile(join(directory, NAME), { dataId: DATA_ID }), 1);
  commit();
  await writing;
  t.equal(await verifyStateFile(join(directory, NAME), { dataId: DATA_ID }), 3);
});

t.test("damage", async (t) => {
  const directory = t.testdir();
  const snapshot = { seq: 7, fields: { fence: 12 }, lists: { tasks: items([item("a"), item("b", "é")]) } };
  await writer(directory).write(snapshot);
  const path = join(directory, NAME);
  const whole = readFileSync(path);

  t.test("an empty file", async (t) => {
    writeFileSync(path, "");
    const damage = await damageOf(t, path);
    t.match(damage.message, /^tasks\.json is damaged at byte 0: .*an empty file.*jarvis-orchestrator repair/);
  });

  t.test("a file that was cut anywhere", async (t) => {
    for (let length = 1; length < whole.length; length++) {
      writeFileSync(path, whole);
      truncateSync(path, length);
      const { position } = await damageOf(t, path);
      t.equal(position, length, `cut at ${length}`);
    }
  });

  t.test("any single bit that flipped", async (t) => {
    for (let at = 0; at < whole.length; at++) {
      const changed = Buffer.from(whole);
      changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
      writeFileSync(path, changed);
      const { position } = await damageOf(t, path);
      t.ok(position <= whole.length);
      await t.rejects(verifyStateFile(path, { dataId: DATA_ID }), DamagedData);
    }
  });

  t.test("a file with something after its end", async (t) => {
    writeFileSync(path, Buffer.concat([whole, whole]));
    await damageOf(t, path);
  });

  t.test("a file that is something else", async (t) => {
    writeFileSync(path, "hello");
    t.match((await damageOf(t, path)).message, /at byte 0: .*found text that is not JSON/);
    writeFileSync(path, '{"tasks": []}\n');
    t.match((await damageOf(t, path)).message, /wanted a checksum as its last field, found none/);
    for (const content of ["[]", "null", "{}", '{\n  "version": 1,\n  "seq": 3,\n  ']) {
      writeFileSync(path, sealed(content));
      await damageOf(t, path);
    }
  });

  t.test("a file of another data directory", async (t) => {
    writeFileSync(path, whole);
    const damage = await damageOf(t, path, "another-one");
    t.match(damage.message, /wanted a file of the data directory another-one, found one of 0123456789abcdef/);
    t.equal((await readStateFile(path, { dataId: undefined }))?.dataId, DATA_ID);
  });

  t.test("a file of a newer version is left to the newer program", async (t) => {
    writeFileSync(path, sealed(`{\n  "version": 2,\n  "dataId": "${DATA_ID}",\n  "seq": 3,\n  `));
    const damage = await damageOf(t, path);
    t.type(damage, NewerData);
    t.match(damage.message, /wanted version 1 or older, found version 2\. .*newer/);
    t.notMatch(damage.message, /repair/);
  });
});

function item(id: string, text = `text of ${id}`): Item {
  return { id, text };
}

function items(records: readonly Item[]): RecordList {
  const list: RecordList<Item> = { records, key: ({ id }) => id, encode: (record) => record };
  return list;
}

function writer(
  directory: string,
  more: Partial<ConstructorParameters<typeof StateFileWriter>[0]> = {},
): { write(snapshot: StateSnapshot, committed?: Promise<void>): ReturnType<StateFileWriter["write"]> } {
  return new StateFileWriter({ directory, name: NAME, dataId: DATA_ID, ...more });
}

/** With a checksum that is right. */
function sealed(before: string): string {
  return `${before}"checksum": "crc32:${crc32(before).toString(16).padStart(8, "0")}"\n}\n`;
}

async function damageOf(t: Test, path: string, dataId = DATA_ID): Promise<DamagedData> {
  const before = readFileSync(path);
  try {
    await readStateFile(path, { dataId });
  } catch (error) {
    if (!(error instanceof DamagedData)) throw error;
    t.equal(error.file, NAME);
    t.strictSame(readFileSync(path), before, "nothing was changed");
    return error;
  }
  throw new Error("damage was not noticed");
}
