import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { textResult } from "../../src/agents/output/text.ts";
import { prepareRunDirectory, readRunRecord, readRunSettings, runDirectory } from "../../src/agents/run-directory.ts";
import { parseExit, parseProgram, parseStartError, parseWrapper } from "../../src/agents/run-records.ts";
import { sshTarget } from "../../src/agents/ssh/target.ts";

t.test("records that are half written are not there yet", async (t) => {
  const program = "pid 123\nstart Sun Nov 22  16:03:01 2026 \nboot 5e-6f\n";
  t.same(parseProgram(program), { pid: 123, start: "Sun Nov 22 16:03:01 2026", boot: "5e-6f" });
  for (let length = 0; length < program.length; length += 1) t.equal(parseProgram(program.slice(0, length)), null);
  const wrapper = "pid 5\nstart 2\nguard 3\nguard-start 4\n";
  t.same(parseWrapper(wrapper), { wrapper: { pid: 5, start: "2" }, guard: { pid: 3, start: "4" } });
  for (let length = 0; length < wrapper.length; length += 1) t.equal(parseWrapper(wrapper.slice(0, length)), null);
  for (const text of [null, "", "nonsense"]) t.equal(parseProgram(text), null);
  for (const pid of ["x", "-1", "0", "1", "01", "2 3", "1e3", "99999999999"]) {
    t.equal(parseProgram(`pid ${pid}\nstart 1\nboot 2\n`), null, pid);
    t.equal(parseWrapper(`pid ${pid}\nstart 2\nguard 3\nguard-start 4\n`), null, pid);
    t.equal(parseWrapper(`pid 5\nstart 2\nguard ${pid}\nguard-start 4\n`), null, pid);
  }
});

t.test("exit records", async (t) => {
  const exit = '{"status":143,"signal":"SIGTERM","stopped":true,"timedOut":false,"endedAt":"2026-11-22T16:03:01Z"}\n';
  t.same(parseExit(exit), {
    status: 143,
    signal: "SIGTERM",
    stopped: true,
    timedOut: false,
    leftovers: [],
  });
  t.match(parseExit('{"status":0,"leftovers":[12,"13",-4,1,0,1.5,15]}'), { leftovers: [12, 15] });
  for (let length = 0; length < exit.length - 2; length += 1) t.equal(parseExit(exit.slice(0, length)), null);
  for (const text of [null, "null", "1", "{}", '{"status":"0"}']) t.equal(parseExit(text), null);
  for (const status of ["-1", "256", "1.5", "1e999"]) t.equal(parseExit(`{"status":${status}}`), null, status);
  for (const signal of ["TERM", "SIG", "SIGTERM; rm", "SIG\\u001b[2J", "x".repeat(1000)]) {
    t.match(parseExit(`{"status":143,"signal":"${signal}"}`), { status: 143, signal: null }, signal);
  }
});

t.test("why there is no program: one word", async (t) => {
  t.equal(parseStartError("NOT_INSTALLED\n"), "NOT_INSTALLED");
  for (const text of [null, "", "not a word\n", "TWO WORDS", "TWO\nLINES\n", "X".repeat(50)]) {
    t.equal(parseStartError(text), null);
  }
});

t.test("a run directory lies where it belongs, whatever the id", async (t) => {
  t.equal(runDirectory("/data", "ses_01J"), "/data/runs/ses_01J");
  for (const id of ["", ".", "..", "a/b", "../x", "a b", "-x", ".hidden", "a\n", "x".repeat(200)]) {
    t.throws(() => runDirectory("/data", id), JSON.stringify(id));
  }
});

t.test("the settings of a run are written once, and what is damaged is not there", async (t) => {
  const directory = join(t.testdir({}), "run");
  const settings = { agent: "a", killGraceMs: 1, maxOutputBytes: 2, leftovers: "report", output: "claude" } as const;
  const first = prepareRunDirectory(directory, "prompt", settings);
  t.match(first, { ...settings, version: 1, mark: /^[0-9a-f]{32}$/ });
  t.same(prepareRunDirectory(directory, "prompt", { ...settings, agent: "b" }), first);
  t.same(readRunSettings(directory), first);
  writeFileSync(join(directory, "run.json"), "{");
  t.equal(readRunSettings(directory), null);
  t.equal(readRunSettings(join(directory, "none")), null);
  t.equal(readRunSettings(join(directory, "run.json", "below")), null);
  const ssh = sshTarget({
    host: "mac",
    port: 22,
    knownHostsFile: "k",
    runDirectory: "runs",
    maxSessionsPerConnection: 8,
    keepaliveMs: 0,
    connectTimeoutMs: 1000,
  });
  const written = (changes: object) => {
    writeFileSync(join(directory, "run.json"), JSON.stringify({ ...first, ssh, ...changes }));
    return readRunSettings(directory);
  };
  t.same(written({}), { ...first, ssh });
  t.same(written({ leftovers: undefined }), { ...first, ssh, leftovers: "kill" }, "as an older version wrote it");
  for (const damage of [
    { killGraceMs: "1" },
    { leftovers: "keep" },
    { killGraceMs: -1 },
    { maxOutputBytes: null },
    { maxOutputBytes: 1e300 },
    { mark: 5 },
    { agent: {} },
    { ssh: null },
    { ssh: { ...ssh, host: ["mac"] } },
    { ssh: { ...ssh, port: "22" } },
    { ssh: { ...ssh, runDirectory: "a;id" } },
  ]) {
    t.equal(written(damage), null, JSON.stringify(damage));
  }
  writeFileSync(join(directory, "run.json"), "{");
  t.same(readRunRecord(directory), { begun: false, processes: null, program: null, startError: null, exit: null });
  // As an older wrapper, or one on another system, may have made it.
  mkdirSync(join(directory, "begun"));
  t.equal(readRunRecord(directory).begun, true);
});

t.test("text output", async (t) => {
  const result = (text: string, size?: number) =>
    textResult(Buffer.from(text), size ?? Buffer.byteLength(text), "ses_1");
  t.equal(result("  the answer\n\n"), "the answer");
  t.equal(result(" \n"), "(no output)");
  t.equal(result(""), "(no output)");
  const long = result("漢".repeat(400_000));
  t.ok(Buffer.byteLength(long) <= 1024 * 1024);
  t.notMatch(long, "\uFFFD");
  t.match(long.slice(-300), "1200000 bytes");
});
