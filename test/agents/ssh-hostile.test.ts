/** What a host, or a program on it, may answer and leave there to do harm. */
import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Duplex, PassThrough } from "node:stream";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { ClientChannel } from "ssh2";
import t, { type Test } from "tap";
import { LineReader } from "../../src/agents/ssh/line-reader.ts";
import type { SshPool } from "../../src/agents/ssh/pool.ts";
import { RemoteShell } from "../../src/agents/ssh/remote-shell.ts";
import { sshTarget } from "../../src/agents/ssh/target.ts";
import { WRAPPER_FILE } from "../../src/agents/wrapper.ts";
import { realClock } from "../../src/dispatcher/clock.ts";
import { until } from "../support/agents.ts";

const HOST_SH = fileURLToPath(new URL("../../src/agents/ssh/host.sh", import.meta.url));

t.test("what nobody asked for is not taken in without bound", async (t) => {
  const stream = new PassThrough();
  const reader = new LineReader(stream, () => new Error("closed"));
  const line = Buffer.from(`${"x".repeat(65_535)}\n`);
  let written = 0;
  const writes = async () => {
    for (; written < 100; written += 1) {
      if (!stream.write(line)) await new Promise((resolve) => stream.once("drain", resolve));
    }
  };
  const writing = writes();
  await pause(200);
  t.ok(written < 40, `${written} of 100 lines were taken`);
  for (let count = 0; count < 100; count += 1) t.equal((await reader.line()).length, 65_535);
  await writing;
});

t.test("an answer has a bound", async (t) => {
  for (const flood of ["run ses_1\n", `${"x".repeat(1000)}\n`]) {
    const shell = await shellThatAnswers(() => flood.repeat(1000));
    await t.rejects(shell.states(["ses_1"]), { message: /more than was asked for/ });
    shell.close();
  }
});

t.test("only plain files have a size", async (t) => {
  const listing = [
    "-rw------- 1 0 0 12 Nov 22 20:00 /runs/ses_1/stdout.log",
    "lrwxrwxrwx 1 0 0 77 Nov 22 20:00 /runs/ses_1/stderr.log -> /x/ses_1/exit.json",
    "prw------- 1 0 0 99 Nov 22 20:00 /runs/ses_1/stderr.log",
  ];
  const shell = await shellThatAnswers(() => `${listing.join("\n")}\n.\n`);
  t.same((await shell.sizes(["ses_1"])).get("ses_1"), { stdout: 12, stderr: 0, usage: 0, hasExit: false });
  shell.close();
});

for (const [shell, ...options] of [["dash"], ["bash", "--posix"], ["busybox", "sh"]] as const) {
  const isThere = spawnSync(shell, [...options, "-c", ":"]).status === 0;
  t.test(`host.sh under ${shell}`, { skip: !isThere && `${shell} not installed` }, async (t) => {
    const { runs, serve } = host(t, [shell, ...options]);
    const make = (id: string) => {
      mkdirSync(join(runs, id));
      return (name: string, content = "") => writeFileSync(join(runs, id, name), content);
    };
    const fine = make("ses_fine");
    fine("begun");
    fine("stdout.log", "0123456789");
    fine("exit.json", '{"status":0}\n');
    const blocked = make("ses_blocked");
    blocked("begun");
    for (const name of ["wrapper", "pid", "stdout.log", "exit.json"]) {
      execFileSync("mkfifo", [join(runs, "ses_blocked", name)]);
    }
    const linked = make("ses_linked");
    linked("begun");
    for (const name of ["wrapper", "pid", "start-error"]) symlinkSync("/etc/passwd", join(runs, "ses_linked", name));
    symlinkSync(join(runs, "ses_fine", "stdout.log"), join(runs, "ses_linked", "stdout.log"));
    symlinkSync("/x/ses_fine/exit.json", join(runs, "ses_linked", "exit.json"));
    const long = make("ses_long");
    long("begun");
    long("start-error", "x\n".repeat(500));
    long("wrapper", "x".repeat(100_000));
    long("pid", "pid 1\nstart 1\nboot 1\n");

    const answers = serve([
      "sizes ses_fine ses_blocked ses_linked",
      "state ses_fine ses_blocked ses_linked ses_long",
      "read ses_fine stdout 3 4",
      "read ses_blocked stdout 0 4",
      "read ses_linked stdout 0 4",
      "stop ses_long 1 stopped",
      "kill ses_long",
      "dismiss ses_long",
    ]);
    const [, sizes = "", state = "", ...reads] = answers;
    t.equal(sizes.trim().split("\n").length, 2);
    t.notMatch(sizes, /blocked|linked/);
    t.equal(
      state.replace(/(start-error x\n)+/, "start-error ...\n"),
      'run ses_fine\nbegun\nexit.json {"status":0}\nrun ses_blocked\nbegun\nrun ses_linked\nbegun\n' +
        "run ses_long\nbegun\nstart-error ...\n",
    );
    t.equal(state.split("start-error x").length - 1, 8);
    t.same(reads.slice(0, 3), ["3456\n", "\0\0\0\0\n", "\0\0\0\0\n"]);
  });

  t.test(`old runs are removed under ${shell}, whatever their names`, { skip: !isThere }, async (t) => {
    const { runs, directory, serve } = host(t, [shell, ...options]);
    const old = new Date(Date.now() - 40 * 24 * 3600 * 1000);
    const make = (id: string) => {
      mkdirSync(join(runs, id), { recursive: true });
      writeFileSync(join(runs, id, "exit.json"), "");
      utimesSync(join(runs, id, "exit.json"), old, old);
    };
    mkdirSync(join(directory, "precious"));
    for (const id of ["ses_old", "ses_a\nprecious", "ses_new"]) make(id);
    writeFileSync(join(runs, "ses_new", "exit.json"), "");
    serve([]);
    await until(
      "the old ones are gone",
      () => !existsSync(join(runs, "ses_old")) && !existsSync(join(runs, "ses_a\nprecious")),
    );
    t.ok(existsSync(join(directory, "precious")));
    t.ok(existsSync(join(runs, "ses_new")));
  });
}

/** `host.sh serve` in a directory of its own; `serve` gives it requests and resolves with the answers, the greeting first. */
function host(t: Test, shell: readonly string[]) {
  const directory = t.testdir({ runs: { ".scripts": {} } });
  const runs = join(directory, "runs");
  copyFileSync(HOST_SH, join(runs, ".scripts", "host.sh"));
  copyFileSync(WRAPPER_FILE, join(runs, ".scripts", "run.sh"));
  const [program = "sh", ...options] = shell;
  const serve = (requests: readonly string[]): string[] => {
    const result = spawnSync(program, [...options, join(runs, ".scripts", "host.sh"), "serve"], {
      cwd: directory,
      env: { ...process.env, HOME: directory },
      input: requests.map((request) => `${request}\n`).join(""),
      encoding: "utf8",
      timeout: 20_000,
      killSignal: "SIGKILL",
    });
    t.equal(result.status, 0, "it came to its end");
    return result.stdout.split(/^\.\n/m);
  };
  return { directory, runs, serve };
}

/** A shell on a host that answers every request with this. */
async function shellThatAnswers(answer: () => string): Promise<RemoteShell> {
  const channel = Object.assign(
    new Duplex({
      read() {},
      write(_chunk, _encoding, done) {
        this.push(answer());
        done();
      },
    }),
    { stderr: new PassThrough() },
  );
  channel.push("jarvis-host 1\nhome /home/x\n.\n");
  const pool = { exec: async () => channel as unknown as ClientChannel } as unknown as SshPool;
  const target = sshTarget({
    host: "mac",
    port: 22,
    knownHostsFile: "k",
    runDirectory: "runs",
    maxSessionsPerConnection: 8,
    keepaliveMs: 1500,
    connectTimeoutMs: 1000,
  });
  return RemoteShell.open(pool, target, realClock);
}
