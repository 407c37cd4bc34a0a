import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { type DataDirectory, type DataDirectoryOptions, openDataDirectory } from "../../src/journal/data-directory.ts";
import { identifyThisProcess, lifeOf, type ProcessIdentity } from "../../src/journal/process-identity.ts";
import { TestClock, TestLog } from "./support.ts";

const STATE_FILES = ["tasks.json", "locks.json"];

t.test("a new directory is made for its owner alone, and given an id and a secret", async (t) => {
  const path = join(t.testdir(), "deep/data");
  const data = await openData(path);
  t.match(data, { path, id: /^[0-9a-f]{32}$/, secret: /^[0-9a-f]{64}$/ });
  for (const folder of ["", "journal", "runs", "archive"]) t.equal(statSync(join(path, folder)).mode & 0o777, 0o700);
  for (const file of ["id", "secret", "owner.json"]) t.equal(statSync(join(path, file)).mode & 0o777, 0o600);
  await data.close();
  await data.close();
  t.strictSame(readdirSync(path).sort(), ["archive", "id", "journal", "runs", "secret"], "no lock is left");

  const again = await openData(path);
  t.strictSame([again.id, again.secret], [data.id, data.secret], "they stay");
  await again.close();
});

t.test("the id and the secret can be given", async (t) => {
  const fresh = { id: () => "an-id-of-mine", secret: () => "ab".repeat(32) };
  const data = await openData(t.testdir(), { fresh });
  t.strictSame([data.id, data.secret], ["an-id-of-mine", "ab".repeat(32)]);
  await data.close();
});

t.test("what a crash left of half-written state files is removed, and nothing else", async (t) => {
  const left = {
    "tasks.json.123456": "",
    "owner.json.99": "",
    "tasks.json.bak": "",
    "notes.txt.12": "",
    "tasks.json.1.2": "",
  };
  const path = t.testdir(left);
  const data = await openData(path);
  t.strictSame(
    readdirSync(path).filter((name) => name in left),
    ["notes.txt.12", "tasks.json.1.2", "tasks.json.bak"],
  );
  await data.close();
});

t.test("a damaged id or secret stops the start", async (t) => {
  for (const [files, file, found] of [
    [{ id: "" }, "id", "an empty file"],
    [{ id: "../../etc" }, "id", "something else"],
    [{ "tasks.json": "{}" }, "id", "no file, although there is tasks.json"],
    [{ journal: { "0000000000000001.jsonl": "" } }, "id", "no file, although there is journal/0000000000000001.jsonl"],
    [{ id: "0123456789abcdef", secret: "abc" }, "secret", "something else"],
  ] as const) {
    const path = t.testdir(files);
    await t.rejects(openData(path), { code: "DAMAGED_DATA", file, found });
    t.notOk(readdirSync(path).includes("owner.json"), "the directory is given up again");
  }
});

t.test("a lost secret is replaced, and that is logged", async (t) => {
  const log = new TestLog();
  const path = t.testdir({ id: "0123456789abcdef" });
  const data = await openData(path, { log });
  t.match(data.secret, /^[0-9a-f]{64}$/);
  t.equal(log.warnings.filter((line) => JSON.stringify(line).includes("secret")).length, 1);
  await data.close();
});

t.test("a directory that was made by hand and is open to others is closed to them", async (t) => {
  const log = new TestLog();
  const path = join(t.testdir(), "data");
  mkdirSync(path);
  chmodSync(path, 0o755);
  const data = await openData(path, { log });
  t.equal(statSync(path).mode & 0o777, 0o700);
  t.equal(log.warnings.length, 1);
  await data.close();
});

t.test("where no directory can be made, that is an error and no endless attempt", async (t) => {
  await t.rejects(openData("/proc/nothing/of/this"), { code: /^E/ });
});

t.test("one owner", async (t) => {
  t.test("a second one is refused and told the pid, by whichever path it comes", async (t) => {
    const path = join(t.testdir(), "data");
    const data = await openData(path);
    const link = `${path}-link`;
    symlinkSync(path, link);
    for (const other of [path, link]) {
      const wanted = {
        code: "DATA_DIRECTORY_IN_USE",
        pid: process.pid,
        message: new RegExp(`process ${process.pid} `),
      };
      await t.rejects(openData(other), wanted);
    }
    await data.close();
    const next = await openData(link);
    t.equal(next.path, path);
    await next.close();
  });

  t.test("of many that start at once one wins", async (t) => {
    const path = t.testdir();
    const results = await Promise.allSettled(Array.from({ length: 5 }, () => openData(path)));
    const won = results.filter((result) => result.status === "fulfilled");
    t.equal(won.length, 1);
    await won[0]?.value.close();
  });

  t.test("one that was killed is replaced at once", async (t) => {
    const path = t.testdir();
    const { pid } = await killedOwner(path);
    const log = new TestLog();
    const clock = new TestClock();
    const data = await openData(path, { log, clock });
    t.match(log.infos, ["the last owner of the data directory died: replaced"]);
    t.equal((JSON.parse(readFileSync(join(path, "owner.json"), "utf8")) as ProcessIdentity).pid, process.pid);
    t.not(pid, process.pid);
    t.equal(clock.monotonic(), 0, "without waiting");
    await data.close();
  });

  t.test("one that cannot be checked is waited for, until its lock is stale", async (t) => {
    const path = t.testdir();
    const data = await openData(path);
    const owner = JSON.parse(readFileSync(join(path, "owner.json"), "utf8")) as ProcessIdentity;
    writeFileSync(join(path, "owner.json"), JSON.stringify({ ...owner, host: "another-machine" }));
    const clock = new TestClock();
    const opening = openData(path, { clock });
    const refused = t.rejects(opening, { code: "DATA_DIRECTORY_IN_USE", message: /another-machine/ });
    await drive(clock, opening);
    await refused;
    t.ok(clock.monotonic() >= 10_000, "it waited for as long as a lock may be stale");
    writeFileSync(join(path, "owner.json"), JSON.stringify(owner));
    await data.close();
  });

  t.test("an owner file that nobody can read is no proof of anything", async (t) => {
    const path = t.testdir({ "owner.json": '{"pid":' });
    const data = await openData(path);
    await data.close();
  });

  t.test("whose lock is removed or taken is told, once, and leaves the files alone", async (t) => {
    for (const take of [
      (path: string) => rmSync(join(path, "lock"), { recursive: true }),
      (path: string) => writeFileSync(join(path, "owner.json"), JSON.stringify({ pid: 1, host: "x", token: "other" })),
    ]) {
      const path = t.testdir();
      const clock = new TestClock();
      let lose = (_: Error): void => {};
      const lost = new Promise<Error>((resolve) => {
        lose = resolve;
      });
      const data = await openData(path, { clock, onLost: (error) => lose(error) });
      take(path);
      const before = readdirSync(path);
      clock.advance(1000);
      t.match(await lost, /gone, or another process has it/);
      t.equal(clock.next, undefined, "and no more is done");
      await data.close();
      t.strictSame(readdirSync(path), before);
      rmSync(path, { recursive: true });
    }
  });
});

t.test("life of a process", async (t) => {
  const self = await identifyThisProcess();
  const dead = { ...self, pid: 4_194_304 - 1, startTime: "1" };
  for (const [other, life, why] of [
    [self, "alive", "the very same"],
    [dead, "dead", "no such pid"],
    [{ ...self, startTime: "1" }, "dead", "the pid is another's by now"],
    [{ ...self, startTime: undefined }, "unknown", "a pid alone is no proof"],
    [{ ...dead, host: "another" }, "unknown", "on another machine"],
    [{ ...dead, pidNamespace: "pid:[1]" }, "unknown", "in another container"],
    [{ ...self, bootId: "other", machineId: undefined }, "unknown", "another boot, but of which machine?"],
  ] as const) {
    t.equal(await lifeOf(other, self), life, why);
  }
  const machine = { ...self, machineId: "m" };
  t.equal(await lifeOf({ ...machine, bootId: "before" }, machine), "dead", "before the machine was started");
  t.equal(await lifeOf({ ...machine, bootId: "before" }, { ...machine, machineId: "n" }), "unknown");
});

function openData(path: string, more: Partial<DataDirectoryOptions> = {}): Promise<DataDirectory> {
  const clock = new TestClock();
  const onLost = (error: Error): void => {
    throw error;
  };
  return openDataDirectory(path, { stateFiles: STATE_FILES, clock, log: new TestLog(), onLost, ...more });
}

/** Another process owns the directory and is killed. */
async function killedOwner(path: string): Promise<{ pid: number | undefined }> {
  const module = new URL("../../src/journal/data-directory.ts", import.meta.url).href;
  const script = `
    import { openDataDirectory } from ${JSON.stringify(module)};
    const clock = { now: () => 0, monotonic: () => 0, after: (ms, callback) => setTimeout(callback, ms) };
    const log = { info() {}, warn() {} };
    await openDataDirectory(${JSON.stringify(path)}, { stateFiles: [], clock, log, onLost() {} });
    process.stdout.write("owned");`;
  const child = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "--eval", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(child.stdout, "data");
  child.kill("SIGKILL");
  await once(child, "exit");
  return { pid: child.pid };
}

/** Lets a clock run until the promise settles. */
async function drive(clock: TestClock, promise: Promise<unknown>): Promise<void> {
  let settled = false;
  const end = (): void => {
    settled = true;
  };
  promise.then(end, end);
  while (!settled) {
    clock.advance(clock.next ?? 0);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
