/**
 * The run directory of a session, `<data>/runs/<sessionId>/`. `prompt.md` and `run.json` are written here before the start, everything
 * else by `run.sh`, whose head lists it. For a run on an SSH host this is its mirror, filled over the connection.
 */
import { randomBytes } from "node:crypto";
import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  type Stats,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { isOutputFormat, type OutputFormat } from "./output/formats.ts";
import { parseExit, parseProgram, parseStartError, parseWrapper, type RunRecord } from "./run-records.ts";
import { isRemotePath, type SshTarget } from "./ssh/target.ts";

/** What a program prints; and what it writes of what it used, where it has a file for that. */
export const OUTPUT_STREAMS = ["stdout", "stderr", "usage"] as const;
export type OutputStream = (typeof OUTPUT_STREAMS)[number];

export const LEFTOVERS = ["kill", "report"] as const;

/** What counts of an agent's settings once a run is made, whatever they are by then. */
export interface RunLimits {
  readonly killGraceMs: number;
  readonly maxOutputBytes: number;
  /** What becomes of processes that the program started in groups of their own, when it has ended. */
  readonly leftovers: (typeof LEFTOVERS)[number];
  /** How its output is read. */
  readonly output: OutputFormat;
}

/** How a run was started, for whoever follows it later, when the config may be another. Nothing secret. */
export interface RunSettings extends RunLimits {
  readonly version: 1;
  readonly agent: string;
  /** In the environment of everything that the run starts, as JARVIS_RUN_MARK. */
  readonly mark: string;
  /** Where it runs, if not on this machine. */
  readonly ssh?: SshTarget | undefined;
}

/** The directory of a session's run. Throws for an id that is no plain file name, since it would lead elsewhere. */
export function runDirectory(dataDirectory: string, sessionId: string): string {
  if (!isSessionId(sessionId)) throw new Error(`not a session id: ${JSON.stringify(sessionId)}`);
  return join(dataDirectory, "runs", sessionId);
}

/** Only such ids stand in file names and in the command lines that go to an SSH host. */
export function isSessionId(text: string): boolean {
  return /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/.test(text);
}

/** Where a program runs that was told no other place: beside the records of its run, not among them. */
export function workFolder(directory: string): string {
  return join(directory, "work");
}

export function logFile(directory: string, stream: OutputStream): string {
  return join(directory, `${stream}.log`);
}

/** Makes the directory with what a run needs before its start, and answers with the settings that count. Safe to repeat. */
export function prepareRunDirectory(
  directory: string,
  prompt: string,
  settings: Omit<RunSettings, "version" | "mark">,
): RunSettings {
  mkdirSync(workFolder(directory), { recursive: true, mode: 0o700 });
  writeAtomically(join(directory, "prompt.md"), prompt);
  const fresh: RunSettings = { version: 1, ...settings, mark: randomBytes(16).toString("hex") };
  return writeOnce(join(directory, "run.json"), `${JSON.stringify(fresh, null, 2)}\n`)
    ? fresh
    : (readRunSettings(directory) ?? fresh);
}

/** `null` when the run was never prepared, or somebody damaged the file: a run is followed without it too. */
export function readRunSettings(directory: string): RunSettings | null {
  const text = readIfThere(join(directory, "run.json"));
  try {
    const value: unknown = text === null ? null : JSON.parse(text);
    return isRunSettings(value)
      ? { ...value, leftovers: value.leftovers ?? "kill", output: value.output ?? "text" }
      : null;
  } catch {
    return null;
  }
}

/** The program can write into the directory: what is read from it is looked at first. */
function isRunSettings(value: unknown): value is Omit<RunSettings, "leftovers" | "output"> & Partial<RunLimits> {
  if (!isObject(value)) return false;
  const { agent, killGraceMs, maxOutputBytes, leftovers = "kill", output = "text", mark, ssh } = value;
  return (
    [agent, mark].every((one) => typeof one === "string") &&
    [killGraceMs, maxOutputBytes].every(isAmount) &&
    LEFTOVERS.some((one) => one === leftovers) &&
    isOutputFormat(output) &&
    (ssh === undefined || isTarget(ssh))
  );
}

function isTarget(value: unknown): boolean {
  if (!isObject(value)) return false;
  const { host, username, knownHostsFile, runDirectory, privateKeyFile = "", passphraseFile = "" } = value;
  const { port, maxSessionsPerConnection, keepaliveMs, connectTimeoutMs } = value;
  return (
    [host, username, knownHostsFile, privateKeyFile, passphraseFile].every((one) => typeof one === "string") &&
    [port, maxSessionsPerConnection, keepaliveMs, connectTimeoutMs].every(isAmount) &&
    typeof runDirectory === "string" &&
    isRemotePath(runDirectory)
  );
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}

function isAmount(value: unknown): boolean {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}

export function readRunRecord(directory: string): RunRecord {
  return {
    begun: isThere(join(directory, "begun")),
    processes: parseWrapper(readIfThere(join(directory, "wrapper"))),
    program: parseProgram(readIfThere(join(directory, "pid"))),
    startError: parseStartError(readIfThere(join(directory, "start-error"))),
    exit: parseExit(readIfThere(join(directory, "exit.json"))),
  };
}

/** Bytes of output so far; 0 where there is no file yet. */
export function logSize(directory: string, stream: OutputStream): number {
  const found = look(logFile(directory, stream));
  return found?.isFile() === true ? found.size : 0;
}

/** Cuts a finished log to the limit. */
export function limitLog(directory: string, stream: OutputStream, bytesMax: number): void {
  if (logSize(directory, stream) <= bytesMax) return;
  const file = openSync(logFile(directory, stream), constants.O_WRONLY | PLAIN_FILE);
  try {
    ftruncateSync(file, bytesMax);
  } finally {
    closeSync(file);
  }
}

export function isThere(path: string): boolean {
  return look(path) !== undefined;
}

/** Makes an empty file. Where there is something of that name already, whatever it is, it does: nothing blocks, nothing fails. */
export function touch(path: string): void {
  try {
    closeSync(openSync(path, constants.O_WRONLY | constants.O_CREAT | PLAIN_FILE, 0o600));
  } catch {}
}

/** `undefined` where there is nothing, or no directory where it could be. */
function look(path: string): Stats | undefined {
  try {
    return lstatSync(path);
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR");
}

/** Whoever reads `path` sees the former content or all of the new one. */
export function writeAtomically(path: string, content: string): void {
  const fresh = `${path}.${randomBytes(6).toString("hex")}.new`;
  writeFileSync(fresh, content, { mode: 0o600, flag: "wx" });
  renameSync(fresh, path);
}

/** Writes all of it or, where the file is there already, nothing; true when it wrote. */
export function writeOnce(path: string, content: string): boolean {
  const fresh = `${path}.${randomBytes(6).toString("hex")}.new`;
  writeFileSync(fresh, content, { mode: 0o600, flag: "wx" });
  try {
    linkSync(fresh, path);
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EEXIST") return false;
    throw error;
  } finally {
    rmSync(fresh);
  }
}

/** A program may put what it likes into its run directory: a link is not followed, and nothing that blocks is waited for. */
export const PLAIN_FILE = constants.O_NOFOLLOW | constants.O_NONBLOCK;
/** The wrapper's records are a few lines. */
const RECORD_BYTES_MAX = 16 * 1024;

/** The text of a record; `null` where there is none, or something that the wrapper never wrote. */
function readIfThere(path: string): string | null {
  let file: number;
  try {
    file = openSync(path, constants.O_RDONLY | PLAIN_FILE);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : "";
    if (isMissing(error) || code === "ELOOP" || code === "ENXIO") return null;
    throw error;
  }
  try {
    const found = fstatSync(file);
    if (!found.isFile() || found.size > RECORD_BYTES_MAX) return null;
    const buffer = Buffer.alloc(found.size);
    return buffer.toString("utf8", 0, readSync(file, buffer, 0, found.size, 0));
  } finally {
    closeSync(file);
  }
}
