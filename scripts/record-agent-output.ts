/**
 * Records what the real agents print, as the fixtures of the tests that read it: test/agents/output/fixtures/<program>/.
 *
 *     npx tsx scripts/record-agent-output.ts                   # all programs, all cases
 *     npx tsx scripts/record-agent-output.ts claude plain tool # these cases of claude
 *
 * The programs talk to the stub model server in a network namespace that leads nowhere else: that takes Linux and root.
 */
import { spawn, spawnSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  installProgram,
  PROGRAMS,
  type ProgramName,
  programSetup,
  programsFolder,
} from "../test/support/agent-programs.ts";
import { startModelServer } from "../test/support/model-server.ts";
import { CASES, type Case } from "./record-agent-output/cases.ts";

const FIXTURES = fileURLToPath(new URL("../test/agents/output/fixtures/", import.meta.url));
const FIXTURE_BYTES_MAX = 60_000;
const RUN_MS_MAX = 240_000;
const ALONE = "JARVIS_RECORDING_ALONE";

/** Whatever the program calls it; the first line that has one has the run's own. */
const SESSION_ID = /"(?:session_id|sessionId|sessionID|thread_id)":"([^"]+)"/;

const [only, ...names] = process.argv.slice(2);
const programs = (Object.keys(PROGRAMS) as ProgramName[]).filter((name) => only === undefined || name === only);
if (process.env[ALONE] === undefined) {
  for (const name of programs) await installProgram(name);
  process.exitCode = enterNamespace();
} else {
  for (const name of programs) await recordProgram(name, names);
}

/** The same again, where there is nothing but loopback. */
function enterNamespace(): number {
  const again = [
    "unshare",
    "-n",
    "sh",
    "-c",
    'ip link set lo up && exec "$@"',
    "sh",
    process.execPath,
    ...process.execArgv,
  ];
  const [command = "", ...args] = [...again, ...process.argv.slice(1)];
  return spawnSync(command, args, { stdio: "inherit", env: { ...process.env, [ALONE]: "1" } }).status ?? 1;
}

interface Recorded {
  readonly argv: readonly string[];
  readonly stdin: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly exitCode: number | null;
  readonly signal: string | null;
  readonly seconds: number;
  readonly note: string;
}

async function recordProgram(program: ProgramName, names: readonly string[]): Promise<void> {
  const { bin } = await installProgram(program);
  const folder = join(FIXTURES, program);
  mkdirSync(folder, { recursive: true });
  const casesFile = join(folder, "cases.json");
  const recorded: Record<string, Recorded> = existsSync(casesFile) ? JSON.parse(readFileSync(casesFile, "utf8")) : {};
  const root = realpathSync(mkdtempSync(join(tmpdir(), "jarvis-recording-")));
  const sessions = new Map<string, { home: string; id: string }>();
  try {
    for (const one of CASES[program]) {
      if (
        names.length > 0 &&
        !names.includes(one.name) &&
        !CASES[program].some((c) => c.after === one.name && names.includes(c.name))
      )
        continue;
      const before = one.after === undefined ? undefined : sessions.get(one.after);
      const home = before?.home ?? mkdtempSync(join(root, "home-"));
      const { result, stdout } = await record(program, bin, folder, root, home, one, before?.id ?? "");
      recorded[one.name] = result;
      sessions.set(one.name, { home, id: SESSION_ID.exec(stdout)?.[1] ?? "" });
      const { exitCode, signal, seconds } = result;
      console.log(`${program} ${one.name}: exit ${exitCode ?? signal} after ${seconds} s, ${stdout.length} bytes`);
      // In the order of the list, whatever was recorded anew.
      const ordered = CASES[program].flatMap(({ name }) => (recorded[name] ? [[name, recorded[name]]] : []));
      writeFileSync(casesFile, `${JSON.stringify(Object.fromEntries(ordered), null, 2)}\n`);
    }
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

async function record(
  program: ProgramName,
  bin: string,
  folder: string,
  root: string,
  home: string,
  one: Case,
  session: string,
): Promise<{ result: Recorded; stdout: string }> {
  const server = await startModelServer();
  const project = join(root, one.elsewhere === true ? "other" : "project");
  mkdirSync(project, { recursive: true });
  const temporary = join(root, "tmp");
  mkdirSync(temporary, { recursive: true });
  const file = (name: string) => join(root, `${one.name}.${name}`);
  const clean = (text: string) =>
    [
      [server.url.replace("http://", ""), "127.0.0.1:8080"],
      [home, "/home/user"],
      [join(root, "project"), "/work/project"],
      [join(root, "other"), "/work/other"],
      [join(root, "project").replaceAll(/[^a-zA-Z0-9]/g, "-"), "-work-project"],
      [temporary, "/tmp"],
      [root, "/work"],
      [programsFolder(), "/opt/agents"],
    ].reduce((cleaned, [from = "", to = ""]) => cleaned.replaceAll(from, to), text);
  try {
    const setup = programSetup(program, { home, modelServerUrl: server.url });
    for (const name of one.without ?? []) {
      if (name.includes("/")) rmSync(join(home, name), { force: true });
      else delete setup[name];
    }
    const args = one.args.map((arg) => arg.replace("{session}", session).replace("{usageFile}", file("usage.json")));
    writeFileSync(file("prompt"), one.prompt);
    const files = [openSync(file("prompt"), "r"), openSync(file("stdout"), "w"), openSync(file("stderr"), "w")];
    const started = Date.now();
    const child = spawn(bin, args, {
      cwd: project,
      // A group of its own, as the orchestrator starts them.
      detached: true,
      stdio: files,
      env: { PATH: process.env["PATH"], LANG: "C.UTF-8", TMPDIR: temporary, ...setup, ...one.env },
    });
    for (const descriptor of files) closeSync(descriptor);
    const send = (signal: NodeJS.Signals) => {
      try {
        process.kill(-(child.pid ?? 0), signal);
      } catch {
        // It has ended by itself.
      }
    };
    const tooLong = setTimeout(
      () => send("SIGKILL"),
      one.secondsMax === undefined ? RUN_MS_MAX : one.secondsMax * 1000,
    );
    const signalling = setInterval(() => {
      if (one.signal === undefined || server.requests.length === 0) return;
      clearInterval(signalling);
      setTimeout(() => send(one.signal ?? "SIGTERM"), 1000);
    }, 100);
    const [exitCode, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve, reject) => {
      child.once("error", reject);
      child.once("exit", (code, signal) => resolve([code, signal]));
    });
    clearTimeout(tooLong);
    clearInterval(signalling);
    const seconds = Math.round((Date.now() - started) / 100) / 10;
    // What it left behind holds the files open, and nobody reads any further.
    send("SIGKILL");

    const stdout = clean(readFileSync(file("stdout"), "utf8"));
    const keep = (name: string, text: string) => {
      if (text.length > FIXTURE_BYTES_MAX)
        console.log(`${program} ${one.name}: ${name} has ${text.length} bytes, not kept`);
      else writeFileSync(join(folder, `${one.name}.${name}`), text);
    };
    keep("stdout.jsonl", stdout);
    keep("stderr.txt", clean(readFileSync(file("stderr"), "utf8")));
    if (existsSync(file("usage.json"))) keep("usage.json", clean(readFileSync(file("usage.json"), "utf8")));
    const env = one.env === undefined ? {} : { env: one.env };
    const argv = [program, ...args].map(clean);
    return { result: { argv, stdin: one.prompt, ...env, exitCode, signal, seconds, note: one.note }, stdout };
  } finally {
    await server.close();
  }
}
