import { readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import t from "tap";
import { type Archive, type ArchiveOptions, openArchive } from "../../src/journal/archive.ts";
import { ArchiveIndex, hashOf } from "../../src/journal/archive-index.ts";
import { DamagedData } from "../../src/journal/damage.ts";
import { hastyDisk, type Operation, systemError, TestLog, watchedDisk } from "./support.ts";

interface Item {
  readonly id: string;
  readonly task: string;
  readonly text: string;
}

const FILE = "archive/items.jsonl";

t.test("what was appended is found by id, in pages and by group, also after a restart", async (t) => {
  const directory = t.testdir();
  const archive = await openItems(directory);
  await archive.append([item("a"), item("b", "other"), item("c")]);
  await archive.append([item("d", "other")]);
  const check = async (archive: Archive<Item>): Promise<void> => {
    t.strictSame(await archive.get("b"), item("b", "other"));
    t.equal(await archive.get("z"), undefined);
    t.ok(archive.has("a"));
    t.notOk(archive.has("z"));
    t.strictSame(await archive.list(undefined, 3), {
      records: [item("d", "other"), item("c"), item("b", "other")],
      nextCursor: "1",
    });
    t.strictSame(await archive.list("1", 3), { records: [item("a")] });
    t.strictSame(await archive.listGroup("other", 5), [item("d", "other"), item("b", "other")]);
    t.strictSame(await archive.listGroup("other", 1), [item("d", "other")]);
    t.strictSame(await archive.listGroup("none", 5), []);
  };
  await check(archive);
  await archive.close();
  await archive.close();
  const again = await openItems(directory);
  await check(again);
  await again.close();
});

t.test("what is removed while it is being appended does not stay", async (t) => {
  const archive = await openItems(t.testdir());
  const appended = archive.append([item("a"), item("b")]);
  t.notOk(archive.has("a"), "it is not there yet");
  await archive.remove(["a"]);
  await appended;
  t.notOk(archive.has("a"));
  t.ok(archive.has("b"));
  await archive.close();
});

t.test("different ids have different hashes, close ones too", async (t) => {
  const ids = Array.from({ length: 300_000 }, (_, n) => (n % 2 === 0 ? `task_${n}` : `${n}`));
  t.equal(new Set(ids.map(hashOf)).size, ids.length);
  t.ok(ids.every((id) => Number.isSafeInteger(hashOf(id)) && hashOf(id) >= 0));
});

t.test("appending while a page is read changes nothing in the pages that follow", async (t) => {
  const archive = await openItems(t.testdir());
  await archive.append([item("a"), item("b"), item("c")]);
  const first = await archive.list(undefined, 1);
  await archive.append([item("d")]);
  t.strictSame((await archive.list(first.nextCursor, 9)).records, [item("b"), item("a")]);
  await archive.close();
});

t.test("of two records with one id the newest counts, and a removed one is gone until it comes again", async (t) => {
  const directory = t.testdir();
  const archive = await openItems(directory);
  await archive.append([item("a"), item("b")]);
  await archive.append([{ ...item("a"), text: "newer" }]);
  await archive.remove(["b", "never-there"]);
  t.ok(archive.has("a"));
  t.notOk(archive.has("b"), "its id is free again");
  t.strictSame(await archive.get("a"), { ...item("a"), text: "newer" });
  t.equal(await archive.get("b"), undefined);
  t.strictSame((await archive.list(undefined, 9)).records, [{ ...item("a"), text: "newer" }]);
  t.strictSame(await archive.listGroup("task-1", 9), [{ ...item("a"), text: "newer" }]);
  await archive.close();
  const again = await openItems(directory);
  t.equal(await again.get("b"), undefined);
  await again.append([item("b")]);
  t.strictSame(await again.get("b"), item("b"));
  await again.close();
});

t.test("removing what was never there writes nothing", async (t) => {
  const operations: Operation[] = [];
  const disk = watchedDisk((operation) => void operations.push(operation));
  const archive = await openItems(t.testdir(), { disk });
  operations.length = 0;
  await archive.remove(["a", "b"]);
  t.strictSame(operations, []);
  await archive.close();
});

t.test("an append is on disk when it resolves", async (t) => {
  const operations: Operation[] = [];
  const disk = watchedDisk((operation) => void operations.push(operation));
  const archive = await openItems(t.testdir(), { disk });
  operations.length = 0;
  await archive.append([item("a"), item("b")]);
  t.strictSame(operations, ["write", "datasync"]);
  await archive.close();
});

t.test("full files are followed by numbered ones, and an index saves reading them again", async (t) => {
  const directory = t.testdir();
  const more = { fileBytesMax: 300 };
  const all = Array.from({ length: 12 }, (_, i) => item(`item-${i}`));
  const archive = await openItems(directory, more);
  for (const each of all) await archive.append([each]);
  const files = readdirSync(join(directory, "archive"));
  t.strictSame(files.slice(0, 3), ["items-000001.index", "items-000001.jsonl", "items-000002.index"]);
  t.strictSame((await archive.list(undefined, 99)).records, all.toReversed());
  await archive.close();

  for (const name of files.filter((name) => name.endsWith(".index")).slice(0, 2))
    rmSync(join(directory, "archive", name));
  writeFileSync(join(directory, "archive/items.index"), "not an index");
  for (let i = 0; i < 2; i++) {
    const again = await openItems(directory, more);
    t.strictSame((await again.list(undefined, 99)).records, all.toReversed(), "indexes are made again where needed");
    t.strictSame(await again.get("item-0"), item("item-0"));
    await again.close();
  }
});

t.test("a crash in the middle of an append costs its records at most", async (t) => {
  const directory = t.testdir();
  const { whole, kept } = await writeTwoBatches(directory);
  for (let length = kept; length <= whole.length; length++) {
    const copy = t.testdir({ archive: { "items.jsonl": whole.subarray(0, length) } });
    const log = new TestLog();
    const archive = await openItems(copy, { log });
    const ids = (await archive.list(undefined, 9)).records.map(({ id }) => id).toReversed();
    t.strictSame(ids, ["a", "b", "c", "d", "e"].slice(0, ids.length));
    t.ok(ids.length >= 2);
    t.equal(log.warnings.length, length === kept || readFileSync(join(copy, FILE)).length === length ? 0 : 1);
    await archive.append([item("f")]);
    t.strictSame(await archive.get("f"), item("f"));
    await archive.close();
  }
});

t.test("a batch that is on disk in parts only is cut where the first part is missing", async (t) => {
  const directory = t.testdir();
  const { whole, kept } = await writeTwoBatches(directory);
  const holed = Buffer.from(whole);
  holed.fill(0, kept + 10, kept + 40);
  const copy = t.testdir({ archive: { "items.jsonl": holed } });
  const log = new TestLog();
  const archive = await openItems(copy, { log });
  t.strictSame((await archive.list(undefined, 9)).records, [item("b"), item("a")]);
  t.equal(log.warnings.length, 1);
  await archive.close();
});

t.test("damage is noticed", async (t) => {
  const directory = t.testdir();
  const { whole, kept } = await writeTwoBatches(directory);

  t.test("any bit that flipped in what was followed by another append", async (t) => {
    for (let at = 0; at < kept; at++) {
      const changed = Buffer.from(whole);
      changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
      const copy = t.testdir({ archive: { "items.jsonl": changed } });
      await t.rejects(openItems(copy), { code: "DAMAGED_DATA", file: FILE }, `byte ${at}`);
      t.strictSame(readFileSync(join(copy, FILE)), changed);
    }
  });

  t.test("a file that is shorter than at the last clean stop, or changed where it is read", async (t) => {
    const copy = t.testdir();
    const archive = await openItems(copy);
    await archive.append([item("a"), item("b")]);
    await archive.close();
    const path = join(copy, FILE);
    const good = readFileSync(path);
    truncateSync(path, good.length - 1);
    await t.rejects(openItems(copy), DamagedData);
    const changed = Buffer.from(good);
    changed[20] = 0x20;
    writeFileSync(path, changed);
    const again = await openItems(copy);
    t.strictSame(await again.get("b"), item("b"));
    await t.rejects(again.get("a"), { code: "DAMAGED_DATA", file: FILE, position: 0 });
    await again.close();
  });
});

t.test("after a failed write the file is left alone, and the next append goes to a new one", async (t) => {
  for (const failing of ["write", "datasync"] as const) {
    const directory = t.testdir();
    const faulty = { on: false };
    const disk = watchedDisk((operation) => {
      if (faulty.on && operation === failing) throw systemError("EIO");
    });
    const archive = await openItems(directory, { disk });
    await archive.append([item("a")]);
    faulty.on = true;
    await t.rejects(archive.append([item("b")]), { code: "EIO" });
    t.equal(await archive.get("b"), undefined);
    faulty.on = false;
    await archive.append([item("c")]);
    const check = async (archive: Archive<Item>): Promise<void> => {
      t.strictSame((await archive.list(undefined, 9)).records, [item("c"), item("a")]);
    };
    await check(archive);
    await archive.close();
    const again = await openItems(directory);
    await check(again);
    await again.close();
  }
});

t.test("many records at once are written in pieces", async (t) => {
  let syncs = 0;
  const disk = watchedDisk((operation) => void (operation === "datasync" && syncs++));
  const archive = await openItems(t.testdir(), { disk, fileBytesMax: 1024 * 1024 });
  const all = Array.from({ length: 3000 }, (_, i) => ({ ...item(String(i)), text: "x".repeat(1000) }));
  await Promise.all([archive.append(all.slice(0, 2000)), archive.append(all.slice(2000))]);
  t.ok(syncs >= 5, `${syncs} pieces`);
  t.strictSame(await archive.get("0"), all[0]);
  t.strictSame(await archive.get("2999"), all[2999]);
  await archive.close();
});

t.test("an archive is what a map of the newest records would be", async (t) => {
  const seed = Date.now();
  t.comment(`seed ${seed}`);
  const id = fc.constantFrom("a", "b", "c", "long".repeat(60), "é", 'q"');
  const step = fc.oneof(
    fc.record({
      put: fc.array(fc.tuple(id, fc.string({ unit: "binary", maxLength: 30 })), { minLength: 1, maxLength: 4 }),
    }),
    fc.record({ remove: fc.array(id, { maxLength: 3 }) }),
    fc.constant({ reopen: true }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
      const directory = t.testdir();
      const model = new Map<string, Item>();
      let archive = await openItems(directory, { fileBytesMax: 200 });
      for (const each of [...steps, { reopen: true }]) {
        if ("put" in each) {
          const records = each.put.map(([id, text]) => ({ ...item(id), text }));
          await archive.append(records);
          for (const record of records) {
            model.delete(record.id);
            model.set(record.id, record);
          }
        } else if ("remove" in each) {
          await archive.remove(each.remove);
          for (const id of each.remove) model.delete(id);
        } else {
          await archive.close();
          archive = await openItems(directory, { fileBytesMax: 200 });
        }
        t.strictSame((await archive.list(undefined, 99)).records, [...model.values()].toReversed());
      }
      for (const id of ["a", "é", "none"]) t.strictSame(await archive.get(id), model.get(id));
      await archive.close();
    }),
    { seed, numRuns: 30 },
  );
});

t.test("the index tells lines apart whatever their hashes are", async (t) => {
  const index = new ArchiveIndex();
  const hashes = Array.from({ length: 5000 }, (_, i) => (i % 3 === 0 ? 7 : hashOf(String(i))));
  for (const [n, idHash] of hashes.entries()) {
    index.add({ idHash, groupHash: idHash % 10, offset: n * 100, length: n, removed: n % 2 === 0 }, n % 4);
  }
  t.equal(index.count, 5000);
  t.strictSame(index.line(4321), {
    idHash: hashes[4321],
    groupHash: (hashes[4321] ?? 0) % 10,
    offset: 432100,
    length: 4321,
    removed: false,
  });
  t.equal(index.fileOf(4321), 1);
  t.strictSame([...index.withId(7)], hashes.flatMap((hash, n) => (hash === 7 ? [n] : [])).toReversed());
  t.strictSame([...index.withGroup(3)], hashes.flatMap((hash, n) => (hash % 10 === 3 ? [n] : [])).toReversed());
  t.strictSame([...index.withId(hashOf("never"))], []);
});

function item(id: string, task = "task-1"): Item {
  return { id, task, text: `text of ${id}` };
}

function openItems(directory: string, more: Partial<ArchiveOptions<Item>> = {}): Promise<Archive<Item>> {
  return openArchive<Item>({
    directory,
    name: "items",
    id: (record) => record.id,
    group: (record) => record.task,
    log: new TestLog(),
    disk: hastyDisk,
    ...more,
  });
}

/** Two batches in one file, without an index; `kept`: where the second begins. */
async function writeTwoBatches(directory: string): Promise<{ whole: Buffer; kept: number }> {
  const archive = await openItems(directory);
  await archive.append([item("a"), item("b")]);
  const kept = readFileSync(join(directory, FILE)).length;
  await archive.append([item("c"), item("d"), item("e")]);
  const whole = readFileSync(join(directory, FILE));
  await archive.close();
  return { whole, kept };
}
