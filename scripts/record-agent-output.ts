/**
 * Records what the real agents print, as the fixtures of the tests that read it: test/agents/output/fixtures/<program>/.
 *
 *     npx tsx scripts/record-agent-output.ts                   # all programs, all cases
 *     npx tsx scripts/record-agent-output.ts claude plain tool # these cases of claude
 *
 * The programs talk to the stub model server in a network namespace that leads nowhere else: that takes Linux and root.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
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
  type InstalledProgram,
  installProgram,
  PROGRAMS,
  type ProgramName,
  programSetup,
  programsFolder,
} from "../test/support/agent-programs.ts";
import { type ModelServer, startModelServer } from "../test/support/model-server.ts";
import { CASES, type Case } from "./record-agent-output/cases.ts";

const FIXTURES = fileURLToPath(new URL("../test/agents/output/fixtures/", import.meta.url));
const FIXTURE_BYTES_MAX = 60_000;
const RUN_SECONDS_MAX = 240;
const ALONE = "JARVIS_RECORDING_ALONE";
/** Whatever the program calls it; the first line that has one has the run's own. */
const SESSION_ID = /"(?:session_id|sessionId|sessionID|thread_id)":"([^"]+)"/;

const [onlyProgram, ...onlyCases] = process.argv.slice(2);
const programs = (Object.keys(PROGRAMS) as ProgramName[]).filter(
  (name) => onlyProgram === undefined || name === onlyProgram,
);
if (process.env[ALONE] === undefined) {
  for (const name of programs) await installProgram(name);
  process.exitCode = enterNamespace();
} else {
  for (const name of programs) await recordProgram(name, onlyCases);
}

/** The same again, where there is nothing but loopback. */
function enterNamespace(): number {
  const inside = ["-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", process.execPath, ...process.execArgv];
  const env = { ...process.env, [ALONE]: "1" };
  return spawnSync("unshare", [...inside, ...process.argv.slice(1)], { stdio: "inherit", env }).status ?? 1;
}

/** What `cases.json` says of a run. */
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
  const installed = await installProgram(program);
  const folder = join(FIXTURES, program);
  mkdirSync(folder, { recursive: true });
  const casesFile = join(folder, "cases.json");
  const recorded: Record<string, Recorded> = existsSync(casesFile) ? JSON.parse(readFileSync(casesFile, "utf8")) : {};
  const root = realpathSync(mkdtempSync(join(tmpdir(), "jarvis-recording-")));
  for (const directory of ["project", "other", "tmp"]) mkdirSync(join(root, directory));
  const before = new Map<string, { home: string; session: string }>();
  try {
    for (const one of wanted(CASES[program], names)) {
      const { home, session } = before.get(one.after ?? "") ?? { home: mkdtempSync(join(root, "home-")), session: "" };
      const { result, output } = await record(one, { program, installed, root, home, session });
      recorded[one.name] = result;
      before.set(one.name, { home, session: SESSION_ID.exec(output["stdout.jsonl"] ?? "")?.[1] ?? "" });
      for (const [name, text] of Object.entries(output)) {
        if (text.length <= FIXTURE_BYTES_MAX) writeFileSync(join(folder, `${one.name}.${name}`), text);
        else console.log(`${program} ${one.name}: ${name} has ${text.length} bytes, not kept`);
      }
      // In the order of the list, whatever was recorded anew.
      const ordered = CASES[program].flatMap(({ name }) => (recorded[name] ? [[name, recorded[name]]] : []));
      writeFileSync(casesFile, `${JSON.stringify(Object.fromEntries(ordered), null, 2)}\n`);
      console.log(`${program} ${one.name}: ${result.exitCode ?? result.signal} after ${result.seconds} s`);
    }
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

/** Those named, with what they continue; all where none is named. */
function wanted(cases: readonly Case[], names: readonly string[]): readonly Case[] {
  if (names.length === 0) return cases;
  const continued = cases.filter(({ name }) => names.includes(name)).map(({ after }) => after);
  return cases.filter(({ name }) => names.includes(name) || continued.includes(name));
}

interface Place {
  readonly program: ProgramName;
  readonly installed: InstalledProgram;
  readonly root: string;
  readonly home: string;
  /** The session to continue. */
  readonly session: string;
}

async function record(one: Case, place: Place): Promise<{ result: Recorded; output: Record<string, string> }> {
  const { program, installed, root, home, session } = place;
  const server = await startModelServer();
  try {
    const setup = programSetup(program, { home, modelServerUrl: server.url });
    for (const name of one.without ?? []) {
      if (name.includes("/")) rmSync(join(home, name), { force: true });
      else delete setup[name];
    }
    for (const [name, content] of Object.entries(one.files ?? {})) writeFileSync(join(home, name), content);
    const file = (name: string) => join(root, `${one.name}.${name}`);
    const fill = { "{session}": session, "{usageFile}": file("usage.json"), "{url}": server.url };
    const args = one.args.map((arg) => replaceAll(arg, Object.entries(fill)));
    writeFileSync(file("prompt"), one.prompt);
    // Files, since some of them lose what a pipe does not take at once.
    const stdio = [openSync(file("prompt"), "r"), openSync(file("stdout"), "w"), openSync(file("stderr"), "w")];
    const started = Date.now();
    const child = spawn(one.native === true ? installed.native : installed.bin, args, {
      cwd: join(root, one.elsewhere === true ? "other" : "project"),
      // A group of its own, as the orchestrator starts them.
      detached: true,
      stdio,
      env: { PATH: process.env["PATH"], LANG: "C.UTF-8", TMPDIR: join(root, "tmp"), ...setup, ...one.env },
    });
    for (const descriptor of stdio) closeSync(descriptor);
    const end = await ended(child, one, server);
    const seconds = Math.round((Date.now() - started) / 100) / 10;

    const clean = (text: string) => replaceAll(text, renamed(server, home, root));
    const output: Record<string, string> = {
      "stdout.jsonl": clean(readFileSync(file("stdout"), "utf8")),
      "stderr.txt": clean(readFileSync(file("stderr"), "utf8")),
    };
    if (existsSync(file("usage.json"))) output["usage.json"] = clean(readFileSync(file("usage.json"), "utf8"));
    const env = one.env === undefined ? {} : { env: one.env };
    const argv = [program, ...args].map(clean);
    return { result: { argv, stdin: one.prompt, ...env, ...end, seconds, note: one.note }, output };
  } finally {
    await server.close();
  }
}

/** Signals it as the case says, and waits for its end. */
async function ended(
  child: ChildProcess,
  one: Case,
  server: ModelServer,
): Promise<{ exitCode: number | null; signal: NodeJS.Signals | null }> {
  const send = (signal: NodeJS.Signals) => {
    try {
      process.kill(-(child.pid ?? 0), signal);
    } catch {
      // The group has ended by itself.
    }
  };
  const tooLong = setTimeout(send, 1000 * (one.secondsMax ?? RUN_SECONDS_MAX), "SIGKILL");
  const signalling = setInterval(() => {
    if (one.signal === undefined || server.requests.length === 0) return;
    clearInterval(signalling);
    setTimeout(send, 1000, one.signal);
  }, 100);
  try {
    return await new Promise((resolve, reject) => {
      child.once("error", reject);
      child.once("exit", (exitCode, signal) => resolve({ exitCode, signal }));
    });
  } finally {
    clearTimeout(tooLong);
    clearInterval(signalling);
    // What is left of it must not write into the next case.
    send("SIGKILL");
  }
}

/** This machine's paths and ports, and what the fixtures say instead. */
function renamed(server: ModelServer, home: string, root: string): readonly (readonly [string, string])[] {
  return [
    [server.url.replace("http://", ""), "127.0.0.1:8080"],
    [home, "/home/user"],
    [join(root, "project"), "/home/user/code/project"],
    [join(root, "other"), "/home/user/code/other"],
    // Claude Code names a folder after the directory.
    [join(root, "project").replaceAll(/[^a-zA-Z0-9]/g, "-"), "-work-project"],
    [join(root, "other").replaceAll(/[^a-zA-Z0-9]/g, "-"), "-work-other"],
    [join(root, "tmp"), "/tmp"],
    [root, "/work"],
    [programsFolder(), "/opt/agents"],
  ];
}

function replaceAll(text: string, replacements: readonly (readonly [string, string])[]): string {
  return replacements.reduce((replaced, [from, to]) => replaced.replaceAll(from, to), text);
}
