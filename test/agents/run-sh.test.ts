import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  accessSync,
  chownSync,
  constants,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t, { type Test } from "tap";
import { readRunRecord } from "../../src/agents/run-directory.ts";
import { WRAPPER_FILE } from "../../src/agents/wrapper.ts";
import { isRunning, readOr, until } from "../support/agents.ts";

/** Debian's sh, macOS's sh in its POSIX mode, Alpine's sh. */
const SHELLS = [["dash"], ["bash", "--posix"], ["busybox", "sh"]] as const;
const UTILITIES = ["cat", "chmod", "date", "grep", "ls", "mkdir", "mv", "ps", "rm", "sh", "sleep", "tr", "true"];

for (const [shell, ...options] of SHELLS) {
  const file = which(shell);
  t.test(`under ${shell}`, { skip: file === null && `${shell} not installed`, jobs: 4 }, async (t) => {
    if (file !== null) wrapperTests(t, [file, ...options]);
  });
}

function wrapperTests(t: Test, shell: readonly [string, ...string[]]): void {
  const test = (name: string, check: (t: Test) => Promise<void>) => t.test(name, { buffered: true }, check);

  test("a run from its beginning to its end", async (t) => {
    const run = begin(t, shell, ["sh", "-c", "cat; echo warning >&2; exit 3"], { input: "prompt.md" });
    t.equal(await run.ended, 0);
    t.equal(run.read("stdout.log"), "the prompt");
    t.equal(run.read("stderr.log"), "warning\n");
    const { begun, processes, program, startError, exit } = readRunRecord(run.directory);
    t.same({ begun, startError, exit }, { begun: true, startError: null, exit: { ...ENDED, status: 3 } });
    t.equal(processes?.wrapper.pid, run.child.pid);
    t.ok(program);
    for (const name of readdirSync(run.directory)) {
      t.equal(statSync(join(run.directory, name)).mode & 0o777, 0o600, name);
    }
  });

  test("whoever comes second leaves it alone", async (t) => {
    const run = begin(t, shell, ["echo", "first"]);
    await run.ended;
    const record = run.read("exit.json");
    t.equal(await begin(t, shell, ["echo", "second"], { directory: run.directory }).ended, 75);
    t.equal(run.read("stdout.log"), "first\n");
    t.equal(run.read("exit.json"), record);
  });

  test("of ten at once, one begins it", async (t) => {
    const directory = scratch(t);
    const runs = Array.from({ length: 10 }, () => begin(t, shell, ["sh", "-c", "echo $$"], { directory }));
    const statuses = await Promise.all(runs.map((run) => run.ended));
    t.same(statuses.sort(), [0, ...Array(9).fill(75)]);
    t.match(readFileSync(join(directory, "stdout.log"), "utf8"), /^\d+\n$/);
  });

  test("the program leads a group of its own, with the umask and the place that it is to have", async (t) => {
    const place = join(scratch(t), "a 'place'");
    mkdirSync(place);
    const script = 'ps -A -o pid= -o pgid= | grep "^ *$$ "; umask; pwd; touch made';
    const run = begin(t, shell, ["sh", "-c", script], { umask: "027", workdir: place });
    await run.ended;
    const { pid } = readRunRecord(run.directory).program ?? { pid: 0 };
    const [ids = "", umask, workdir] = run.read("stdout.log").split("\n");
    t.same(ids.trim().split(/\s+/).map(Number), [pid, pid]);
    t.equal(Number.parseInt(umask ?? "", 8), 0o027);
    t.equal(workdir, place);
    t.equal(statSync(join(place, "made")).mode & 0o777, 0o640);
  });

  test("arguments arrive as they are", async (t) => {
    const args = ["$(id)", "`id`", "a'b\"c", "two\nlines\n", "*", "", "-n", "\\n", " x "];
    const run = begin(t, shell, ["sh", "-c", 'printf "<%s>" "$@"', "sh", ...args]);
    await run.ended;
    t.equal(run.read("stdout.log"), args.map((arg) => `<${arg}>`).join(""));
  });

  test("variables of any name reach the program unchanged", async (t) => {
    const env = { status: "1", pid: "2", dir: "3", line: "4", start: "5", IFS: "x", CDPATH: "/", "0": "6" };
    const run = begin(t, shell, ["env"], { env });
    await run.ended;
    const lines = run.read("stdout.log").split("\n");
    for (const [name, value] of Object.entries({ ...env, "0": undefined, IFS: undefined })) {
      if (value !== undefined) t.ok(lines.includes(`${name}=${value}`), name);
    }
  });

  test("a limit that passes: TERM, and the record says whose end it was", async (t) => {
    const run = begin(t, shell, ["sh", "-c", "trap 'echo told; exit 5' TERM; sleep 1000 & wait"], { limit: "1" });
    await run.ended;
    t.equal(run.read("stdout.log"), "told\n");
    t.same(readRunRecord(run.directory).exit, { ...ENDED, status: 5, timedOut: true });
  });

  test("a limit that passes, and a program that does not heed TERM", async (t) => {
    const run = begin(t, shell, ["sh", "-c", "trap '' TERM; while :; do sleep 1000; done"], { limit: "1", grace: "1" });
    await run.ended;
    t.same(readRunRecord(run.directory).exit, { ...ENDED, status: 137, signal: "SIGKILL", timedOut: true });
  });

  test("TERM to the guard stops the run, and more of them change nothing", async (t) => {
    const run = begin(t, shell, ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1000; done"], { grace: "1" });
    await until("it is ready", () => readOr(join(run.directory, "stdout.log"), "") !== "");
    const { guard } = await run.processes();
    const stoppedAt = performance.now();
    for (let count = 0; count < 5; count += 1) process.kill(guard.pid, "SIGTERM");
    await run.ended;
    t.ok(performance.now() - stoppedAt > 900, "the grace was kept");
    t.same(readRunRecord(run.directory).exit, { ...ENDED, status: 137, signal: "SIGKILL", stopped: true });
  });

  test("signals to the wrapper itself do not end it", async (t) => {
    const go = join(scratch(t), "go");
    const run = begin(t, shell, ["sh", "-c", `echo ready; until [ -e ${go} ]; do sleep 0.05; done; echo done`]);
    await until("it is ready", () => readOr(join(run.directory, "stdout.log"), "") !== "");
    for (const signal of ["SIGHUP", "SIGINT", "SIGTERM"] as const) run.child.kill(signal);
    writeFileSync(go, "");
    t.equal(await run.ended, 0);
    t.equal(run.read("stdout.log"), "ready\ndone\n");
    t.same(readRunRecord(run.directory).exit, { ...ENDED, status: 0 });
  });

  test("a program that is frozen is no program that ended", async (t) => {
    const run = begin(t, shell, ["sh", "-c", "kill -STOP $$; echo on"]);
    await until("the program is there", () => readRunRecord(run.directory).program !== null);
    const { pid } = readRunRecord(run.directory).program ?? { pid: 0 };
    await until("it is frozen", () => stateOf(pid).startsWith("T"));
    t.notOk(existsSync(join(run.directory, "exit.json")));
    process.kill(pid, "SIGCONT");
    await run.ended;
    t.equal(run.read("stdout.log"), "on\n");
  });

  test("helpers in the group end with the program, and heed TERM or not", async (t) => {
    const helper = "sh -c 'trap \"\" TERM; echo $$; while :; do sleep 1000; done' &";
    const run = begin(t, shell, ["sh", "-c", `${helper} sleep 0.5; echo over`], { grace: "1" });
    await run.ended;
    const [pid] = run.read("stdout.log").split("\n");
    t.notOk(isRunning(Number(pid)));
    t.same(readRunRecord(run.directory).exit, { ...ENDED, status: 0 });
  });

  test("nothing is left after a normal end, however short it was", async (t) => {
    for (let count = 0; count < 10; count += 1) {
      const run = begin(t, shell, ["true"], { limit: "4321" });
      await run.ended;
      // A program can be over before the guard has written anything.
      t.notOk(isRunning(readRunRecord(run.directory).processes?.guard.pid ?? 0));
    }
    t.notMatch(execFileSync("ps", ["-A", "-o", "args="], { encoding: "utf8" }), "sleep 4321");
  });

  test("a run whose directory somebody removed still ends on time, and leaves nothing", async (t) => {
    const run = begin(t, shell, ["sh", "-c", "trap '' TERM; while :; do sleep 1000; done"], { limit: "2", grace: "1" });
    await until("the program is there", () => readRunRecord(run.directory).program !== null);
    const { program, processes } = readRunRecord(run.directory);
    rmSync(run.directory, { recursive: true });
    t.equal(await run.ended, 0);
    for (const one of [program, processes?.guard]) t.notOk(isRunning(one?.pid ?? 0));
  });

  test("what the program puts in the wrapper's way does not keep it from ending the run", async (t) => {
    const inTheWay =
      "for one in stopped timed-out exit.json.new wrapper pid; do rm -f $one; mkfifo $one; done; mkdir exit.json";
    const script = `cd "$1"; ${inTheWay}; trap '' TERM; while :; do sleep 1000; done`;
    const directory = scratch(t);
    const argv = ["sh", "-c", script, "sh", directory];
    const run = begin(t, shell, argv, { directory, limit: "2", grace: "1" });
    t.equal(await run.ended, 0);
    t.match(readRunRecord(run.directory).exit, { status: 137, signal: "SIGKILL", timedOut: true });
  });

  test("an exit record is written whatever has its name", async (t) => {
    for (const making of ["mkdir -p exit.json.new/a exit.json/b", "ln -s /dev/full exit.json.new; mkfifo exit.json"]) {
      const directory = scratch(t);
      const run = begin(t, shell, ["sh", "-c", `cd "$1"; ${making}; exit 6`, "sh", directory], { directory });
      t.equal(await run.ended, 0);
      t.same(readRunRecord(directory).exit, { ...ENDED, status: 6 }, making);
    }
  });

  test("signals end programs, numbers do not", async (t) => {
    for (const [script, status, signal] of [
      ["kill -9 $$", 137, "SIGKILL"],
      ["kill -TERM $$", 143, "SIGTERM"],
      // The exit status of a known program for "unauthorized": 17 is no signal that ends one.
      ["exit 145", 145, null],
      ["exit 255", 255, null],
    ] as const) {
      const run = begin(t, shell, ["sh", "-c", script]);
      await run.ended;
      t.same(readRunRecord(run.directory).exit, { ...ENDED, status, signal }, script);
    }
  });

  test("what cannot be started says why, and leaves no program's record", async (t) => {
    const plain = join(scratch(t), "plain");
    writeFileSync(plain, "");
    for (const [program, workdir, word] of [
      ["surely-not-installed", "/", "NOT_INSTALLED"],
      ["/surely/not/there", "/", "NOT_INSTALLED"],
      [plain, "/", "NOT_INSTALLED"],
      ["/", "/", "NOT_INSTALLED"],
      ["true", "/surely/not/there", "WORKSPACE_NOT_FOUND"],
      ["true", plain, "WORKSPACE_NOT_FOUND"],
    ] as const) {
      const run = begin(t, shell, [program], { workdir });
      await run.ended;
      const { startError, program: record, exit } = readRunRecord(run.directory);
      t.match({ startError, record, exit }, { startError: word, record: null, exit: { status: 127 } }, program);
    }
  });

  // What Linux has in setsid, a Mac does with perl or with the job control of its sh, which is bash.
  for (const way of ["perl", "job control"] as const) {
    if (way === "job control" && !shell[0].endsWith("bash")) continue;
    test(`a process group without setsid, by ${way}`, async (t) => {
      const path = join(scratch(t), "bin");
      mkdirSync(path);
      for (const utility of [...UTILITIES, ...(way === "perl" ? ["perl"] : [])]) {
        symlinkSync(which(utility) ?? "", join(path, utility));
      }
      const script = "sleep 1000 & echo $! $$; trap '' TERM; sleep 1000";
      const run = begin(t, shell, ["sh", "-c", script], { env: { PATH: path }, limit: "1", grace: "1" });
      await run.ended;
      const [helper, pid] = run.read("stdout.log").split(/\s/).map(Number);
      t.equal(readRunRecord(run.directory).program?.pid, pid);
      t.notOk(isRunning(helper ?? 0));
      t.match(readRunRecord(run.directory).exit, { timedOut: true, signal: "SIGKILL" });
    });
  }

  test("what left the group ends with the run, after the same grace", async (t) => {
    const run = begin(t, shell, ["sh", "-c", `${STRAY}; echo done`], { grace: "1", env: { JARVIS_RUN_MARK: MARK } });
    await run.ended;
    const [pid, done] = run.read("stdout.log").split("\n");
    t.equal(done, "done");
    t.notOk(isRunning(Number(pid)));
    t.same(readRunRecord(run.directory).exit, { ...ENDED, status: 0 });
  });

  test("a stop ends it in the same time as the program", async (t) => {
    const script = `${STRAY}; trap '' TERM; while :; do sleep 1000; done`;
    const run = begin(t, shell, ["sh", "-c", script], { grace: "2", env: { JARVIS_RUN_MARK: MARK.replace("0", "1") } });
    await until("it is ready", () => readOr(join(run.directory, "stdout.log"), "") !== "");
    const { guard } = await run.processes();
    const stoppedAt = performance.now();
    process.kill(guard.pid, "SIGTERM");
    await run.ended;
    t.ok(performance.now() - stoppedAt < 10_000, "one grace, not two, whatever else the machine does");
    t.notOk(isRunning(Number(run.read("stdout.log"))));
    t.match(readRunRecord(run.directory).exit, { signal: "SIGKILL", stopped: true, leftovers: [] });
  });

  test("what is to be left alone is told of", async (t) => {
    const run = begin(t, shell, ["sh", "-c", STRAY], {
      leftovers: "report",
      env: { JARVIS_RUN_MARK: MARK.replace("0", "2") },
    });
    await run.ended;
    const pid = Number(run.read("stdout.log"));
    t.ok(isRunning(pid));
    const { leftovers = [] } = readRunRecord(run.directory).exit ?? {};
    t.ok(leftovers.includes(pid));
    process.kill(-pid, "SIGKILL");
  });

  test("what a killed wrapper could not end is ended in its place, and nothing else", async (t) => {
    const env = { JARVIS_RUN_MARK: MARK.replace("0", "3") };
    const script = `${STRAY}; while :; do sleep 1000; done`;
    const [run, other] = [MARK.replace("0", "3"), MARK.replace("0", "4")].map((mark) =>
      begin(t, shell, ["sh", "-c", script], { env: { JARVIS_RUN_MARK: mark } }),
    );
    if (run === undefined || other === undefined) throw new Error("two were begun");
    for (const one of [run, other])
      await until("it is ready", () => readOr(join(one.directory, "stdout.log"), "") !== "");
    const { guard } = await run.processes();
    run.child.kill("SIGKILL");
    process.kill(guard.pid, "SIGKILL");
    const sweep = spawn(shell[0], [...shell.slice(1), WRAPPER_FILE, "sweep", run.directory, env.JARVIS_RUN_MARK, "1"]);
    await once(sweep, "exit");
    const { pid } = readRunRecord(run.directory).program ?? { pid: 0 };
    t.same([pid, Number(run.read("stdout.log"))].map(isRunning), [false, false]);
    t.ok(isRunning(Number(other.read("stdout.log"))), "another run goes on");
    process.kill((await other.processes()).guard.pid, "SIGTERM");
    await other.ended;
    t.notOk(isRunning(Number(other.read("stdout.log"))));
  });

  const cgroups = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].find((path) => mayWrite(join(path, "cgroup.procs")));
  const skip =
    process.getuid?.() === 0 && cgroups !== undefined ? false : "needs the superuser and cgroups (version 2)";
  t.test("where the user has a cgroup, not even what hides its mark stays", { buffered: true, skip }, async (t) => {
    const NOBODY = 65534;
    const own = mkdtempSync(join(cgroups ?? "", "jarvis-run-sh-"));
    t.teardown(() => rmdirSync(own));
    for (const path of [own, join(own, "cgroup.procs")]) chownSync(path, NOBODY, NOBODY);
    const place = scratch(t);
    const directory = join(place, "run");
    mkdirSync(directory);
    const wrapper = join(place, "run.sh");
    copyFileSync(WRAPPER_FILE, wrapper);
    for (const path of [place, directory]) chownSync(path, NOBODY, NOBODY);
    const hidden = STRAY.replace("setsid", "env -i setsid");
    const script = `${hidden}; grep ^0:: /proc/self/cgroup`;
    const become = `echo $$ >${own}/cgroup.procs && exec setpriv --reuid ${NOBODY} --regid ${NOBODY} --clear-groups "$@"`;
    const args = [wrapper, directory, "022", "60", "1", "kill", "/dev/null", "/", "sh", "-c", script];
    const child = spawn("sh", ["-c", become, "sh", ...shell, ...args], { detached: true, stdio: "ignore" });
    await once(child, "exit");
    const [pid, cgroup] = readFileSync(join(directory, "stdout.log"), "utf8").split("\n");
    t.ok(cgroup?.endsWith(`${own.split("/").at(-1)}/run-run`), `it was in ${cgroup}`);
    t.notOk(isRunning(Number(pid)));
    t.same(
      readdirSync(own, { withFileTypes: true }).filter((entry) => entry.isDirectory()),
      [],
      "its cgroup is gone",
    );
  });

  test("without any way to make a process group nothing is started", async (t) => {
    if (shell[0].endsWith("bash")) return;
    const path = join(scratch(t), "bin");
    mkdirSync(path);
    for (const utility of UTILITIES) symlinkSync(which(utility) ?? "", join(path, utility));
    const run = begin(t, shell, ["true"], { env: { PATH: path } });
    await run.ended;
    t.match(readRunRecord(run.directory), { startError: "NO_PROCESS_GROUP", program: null });
  });
}

const ENDED = { signal: null, stopped: false, timedOut: false, leftovers: [] };
const MARK = "0123456789abcdef0123456789abcdef";
/** A line of sh: starts what leaves the program's group and session, heeds no TERM, and says its pid. */
const STRAY = "setsid sh -c 'trap \"\" TERM; while :; do sleep 1000; done' & echo $!";

interface Options {
  readonly directory?: string;
  readonly umask?: string;
  readonly limit?: string;
  readonly grace?: string;
  readonly leftovers?: "kill" | "report";
  readonly input?: string;
  readonly workdir?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** Starts the wrapper in a session of its own, as the daemon does. */
function begin(
  t: Test,
  [shell, ...options]: readonly [string, ...string[]],
  argv: readonly string[],
  given: Options = {},
) {
  const directory = given.directory ?? join(scratch(t), "run");
  if (!existsSync(directory)) mkdirSync(directory, { mode: 0o700 });
  writeFileSync(join(directory, "prompt.md"), "the prompt", { mode: 0o600 });
  const { umask = "022", limit = "60", grace = "5", leftovers = "kill", input = "/dev/null", workdir = "/" } = given;
  const child: ChildProcess = spawn(
    shell,
    [...options, WRAPPER_FILE, directory, umask, limit, grace, leftovers, input, workdir, ...argv],
    { detached: true, stdio: "ignore", env: { PATH: process.env["PATH"], ...given.env } },
  );
  const ended = once(child, "exit").then(([status]) => status as number | null);
  return {
    child,
    directory,
    ended,
    read: (name: string) => readFileSync(join(directory, name), "utf8"),
    /** Once they are written down. */
    async processes() {
      await until("the guard wrote its records", () => readRunRecord(directory).processes !== null);
      const { processes } = readRunRecord(directory);
      if (processes === null) throw new Error("no records");
      return processes;
    },
  };
}

/** A directory of its own for each use. */
function scratch(t: Test): string {
  const directory = mkdtempSync(join(tmpdir(), "jarvis-run-sh-"));
  t.teardown(() => rmSync(directory, { recursive: true, force: true, maxRetries: 3 }));
  return directory;
}

function mayWrite(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

function stateOf(pid: number): string {
  try {
    return execFileSync("ps", ["-o", "stat=", "-p", String(pid)], { encoding: "utf8" }).trim();
  } catch {
    return "";
  }
}

function which(program: string): string | null {
  const directories = (process.env["PATH"] ?? "").split(":");
  return directories.map((directory) => join(directory, program)).find((path) => existsSync(path)) ?? null;
}
