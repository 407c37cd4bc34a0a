/** How a run ended, from its exit record and its logs: the same for every way to reach an agent. */
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import type { Cost, RunExit, SessionError } from "../core/session.ts";
import type { RunEnd } from "../dispatcher/ports.ts";
import { TEXT_BYTES_WANTED, textResult } from "./output/text.ts";
import { limitLog, logFile, logSize, OUTPUT_STREAMS, PLAIN_FILE, type RunSettings } from "./run-directory.ts";
import type { ExitRecord } from "./run-records.ts";

/** Plain text tells nothing of it. */
const UNKNOWN_COST: Cost = { usd: null, basis: "unknown" };
/** Of stderr, in the sentence that says why a program failed. */
const ERROR_TAIL_BYTES = 2000;

export interface EndedRun {
  readonly sessionId: string;
  readonly directory: string;
  readonly settings: Pick<RunSettings, "maxOutputBytes">;
  readonly exit: ExitRecord;
  /** Of a run that had no program: any program could have written it. */
  readonly startError: string | null;
}

/** Reads the logs and cuts them to the run's limit. */
export async function endOfRun(run: EndedRun): Promise<RunEnd> {
  const tooLong = OUTPUT_STREAMS.find((stream) => logSize(run.directory, stream) > run.settings.maxOutputBytes);
  for (const stream of OUTPUT_STREAMS) limitLog(run.directory, stream, run.settings.maxOutputBytes);

  if (run.startError !== null) return refusedRun(run.startError);
  const exit = toRunExit(run.exit);
  const stderr = await readTail(logFile(run.directory, "stderr"), ERROR_TAIL_BYTES);
  const output = await readHead(logFile(run.directory, "stdout"), TEXT_BYTES_WANTED);
  const printed = output.bytes.length === 0 ? {} : { result: textResult(output.bytes, output.size, run.sessionId) };
  const end = (status: "failed" | "timed_out", error: SessionError): RunEnd => ({
    exit,
    outcome: { status, error, ...printed },
    cost: UNKNOWN_COST,
  });

  if (tooLong !== undefined) {
    const limit = `${run.settings.maxOutputBytes} bytes (maxOutputBytes)`;
    return end("failed", {
      code: "OUTPUT_LIMIT",
      message: `stopped: its ${tooLong} passed the limit of ${limit}; the log is cut there`,
    });
  }
  if (run.exit.timedOut)
    return end("timed_out", { code: "TIMED_OUT", message: "its total time (timeoutMs) was over, and it was stopped" });
  if (run.exit.stopped) return end("failed", { code: "STOPPED", message: "it was stopped" });
  if (run.exit.status === 0) {
    return {
      exit,
      outcome: { status: "completed", result: textResult(output.bytes, output.size, run.sessionId) },
      cost: UNKNOWN_COST,
    };
  }
  const how = exit.signal === undefined ? `exited with status ${run.exit.status}` : `was ended by ${exit.signal}`;
  const said = stderr.trim();
  return end("failed", {
    code: exit.signal === undefined ? "EXIT_STATUS" : "SIGNAL",
    message: said === "" ? `the program ${how}, with nothing on stderr` : `the program ${how}: ${said}`,
  });
}

/** A run that has no program, or never had one. */
export function failedRun(error: SessionError): RunEnd {
  return { exit: {}, outcome: { status: "failed", error }, cost: UNKNOWN_COST };
}

/** A run that the wrapper, or the host, would not start: `word` is its word for why. */
export function refusedRun(word: string): RunEnd {
  return failedRun(startError(word));
}

/** A run whose end nobody saw. */
export function lostRun(code: string, message: string): RunEnd {
  return { exit: {}, outcome: { status: "lost", error: { code, message } }, cost: UNKNOWN_COST };
}

/** A run whose time was over before it began. */
export function lateRun(): RunEnd {
  const message = "its total time (timeoutMs) was over before it could be started";
  return { exit: {}, outcome: { status: "timed_out", error: { code: "TIMED_OUT", message } }, cost: UNKNOWN_COST };
}

function toRunExit(exit: ExitRecord): RunExit {
  const how = exit.signal === null ? { exitCode: exit.status } : { signal: exit.signal };
  return exit.leftovers.length === 0 ? how : { ...how, leftovers: exit.leftovers };
}

/** The wrapper's word for why there is no program. */
function startError(word: string): SessionError {
  switch (word) {
    case "NOT_INSTALLED":
      return {
        code: "NOT_INSTALLED",
        message:
          "the program is not installed there, not executable, or not on the agent's PATH: give its absolute path, or set PATH in the agent's env",
      };
    case "WORKSPACE_NOT_FOUND":
      return { code: "WORKSPACE_NOT_FOUND", message: "the workspace is not there, or may not be entered" };
    case "BAD_WORKSPACE":
      return {
        code: "BAD_WORKSPACE",
        message: "the workspace is under none of the workspaceRoots of the config, as the host has them",
      };
    case "NO_PROCESS_GROUP":
      return {
        code: "BAD_CONFIG",
        message: "the machine can give a program no process group of its own: install setsid (util-linux) or perl",
      };
    default:
      return { code: "START_FAILED", message: `the wrapper could not start the program: ${word}` };
  }
}

async function readHead(path: string, bytesMax: number): Promise<{ bytes: Buffer; size: number }> {
  const file = await openIfThere(path);
  if (file === null) return { bytes: Buffer.alloc(0), size: 0 };
  try {
    const { size } = await file.stat();
    const { bytesRead, buffer } = await file.read(
      Buffer.alloc(Math.min(size, bytesMax)),
      0,
      Math.min(size, bytesMax),
      0,
    );
    return { bytes: buffer.subarray(0, bytesRead), size };
  } finally {
    await file.close();
  }
}

async function readTail(path: string, bytesMax: number): Promise<string> {
  const file = await openIfThere(path);
  if (file === null) return "";
  try {
    const { size } = await file.stat();
    const length = Math.min(size, bytesMax);
    const { bytesRead, buffer } = await file.read(Buffer.alloc(length), 0, length, size - length);
    const text = buffer.subarray(0, bytesRead).toString("utf8");
    // Begins at a whole line where it does not begin at the beginning.
    return size > length ? text.slice(text.indexOf("\n") + 1) : text;
  } finally {
    await file.close();
  }
}

async function openIfThere(path: string) {
  try {
    const file = await open(path, constants.O_RDONLY | PLAIN_FILE);
    if ((await file.stat()).isFile()) return file;
    await file.close();
    return null;
  } catch (error) {
    if (error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ELOOP")) return null;
    throw error;
  }
}
