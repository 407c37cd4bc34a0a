/** How a run ended, from its exit record and its output: the same for every way to reach an agent. */
import type { ErrorClass } from "../core/policy/error-class.ts";
import type { RunExit, SessionError, Warning } from "../core/session.ts";
import type { RunEnd } from "../dispatcher/ports.ts";
import { type LineFormat, lineFormat } from "./output/formats.ts";
import { readHead, readTail, summarize } from "./output/read-output.ts";
import type { Summary } from "./output/summary.ts";
import { cutResult, TEXT_BYTES_WANTED, textResult } from "./output/text.ts";
import { errorOf, troubleError } from "./output/trouble.ts";
import { limitLog, logFile, logSize, OUTPUT_STREAMS, type RunLimits } from "./run-directory.ts";
import type { ExitRecord } from "./run-records.ts";

/** Of stderr, in the sentence that says why a program failed. */
const ERROR_TAIL_BYTES = 2000;
const ERROR_HEAD_BYTES = 500;

export interface EndedRun {
  readonly sessionId: string;
  readonly directory: string;
  readonly settings: Pick<RunLimits, "maxOutputBytes" | "output">;
  readonly exit: ExitRecord;
  /** Of a run that had no program: any program could have written it. */
  readonly startError: string | null;
  /** The agent's own session, where it was given an id by us; what its output says of that counts more. */
  readonly agentSession: string | null;
  /** Ms since the epoch. */
  readonly now: number;
}

/** Cuts the logs to the run's limit, and reads them. */
export async function endOfRun(run: EndedRun): Promise<RunEnd> {
  const tooLong = OUTPUT_STREAMS.find((stream) => logSize(run.directory, stream) > run.settings.maxOutputBytes);
  for (const stream of OUTPUT_STREAMS) limitLog(run.directory, stream, run.settings.maxOutputBytes);

  if (run.startError !== null) return refusedRun(run.startError);
  const stderr = (await readTail(logFile(run.directory, "stderr"), ERROR_TAIL_BYTES)).trim();
  const stopped = stoppedBy(run, tooLong);
  const format = lineFormat(run.settings.output);
  if (format === null) return textEnd(run, stopped, stderr);
  return linesEnd(run, format, stopped, await summarize(run.directory, format), await wordsOf(run.directory, stderr));
}

/** What stderr says of a failure: programs that print their whole help put the reason above it. */
async function wordsOf(directory: string, tail: string): Promise<string> {
  const head = await readHead(logFile(directory, "stderr"), ERROR_HEAD_BYTES);
  if (head.size <= ERROR_TAIL_BYTES) return tail;
  return `${head.bytes.toString("utf8").trim()}\n[...]\n${tail}`;
}

type Failure = { readonly status: "failed" | "timed_out"; readonly error: SessionError };

/** What ended it before its program did; `null` = nothing. */
function stoppedBy({ settings, exit }: EndedRun, tooLong: string | undefined): Failure | null {
  if (tooLong !== undefined) {
    const limit = `${settings.maxOutputBytes} bytes (maxOutputBytes)`;
    const message = `stopped: its ${tooLong} passed the limit of ${limit}; the log is cut there`;
    return { status: "failed", error: { code: "OUTPUT_LIMIT", message } };
  }
  if (exit.timedOut) {
    const message = "its total time (timeoutMs) was over, and it was stopped";
    return { status: "timed_out", error: { code: "TIMED_OUT", message } };
  }
  return exit.stopped ? { status: "failed", error: { code: "STOPPED", message: "it was stopped" } } : null;
}

/** Of a program that answers in plain text: what it prints is its result, and its exit status says whether it is one. */
async function textEnd(run: EndedRun, stopped: Failure | null, stderr: string): Promise<RunEnd> {
  const exit = toRunExit(run.exit);
  const output = await readHead(logFile(run.directory, "stdout"), TEXT_BYTES_WANTED);
  const result = textResult(output.bytes, output.size, run.sessionId);
  if (stopped === null && run.exit.status === 0) return { exit, outcome: { status: "completed", result } };
  const failure = stopped ?? { status: "failed", error: exitError(exit, stderr) };
  return { exit, outcome: { ...failure, ...(output.size === 0 ? {} : { result }) } };
}

/**
 * Of a program that tells in lines what it does. Exit 0 is not enough: it also must have come to its end in order, with words, and
 * not aborted.
 */
function linesEnd(
  run: EndedRun,
  format: LineFormat,
  stopped: Failure | null,
  summary: Summary,
  stderr: string,
): RunEnd {
  const { usage, totals, toolCalls } = summary;
  const agentSession = summary.agentSession ?? (format.takesSessionId && !summary.isEmpty ? run.agentSession : null);
  // A failed request is often told twice: as the agent's last words, too.
  const text = summary.text === summary.trouble?.message ? "" : summary.text;
  const result = cutResult(text, run.sessionId);
  const facts = {
    exit: toRunExit(run.exit),
    toolCalls,
    ...(usage === undefined ? {} : { usage }),
    ...(agentSession === null
      ? {}
      : { agentSession: { id: agentSession, ...(totals === undefined ? {} : { totals }) } }),
  };
  const failure = stopped ?? failureOf(run, format, summary, stderr);
  if (failure === null) return { ...facts, outcome: { status: "completed", result }, warnings: refusals(summary) };
  return { ...facts, outcome: { ...failure, ...(text === "" ? {} : { result }) } };
}

/** `null` = it did not fail. */
function failureOf(run: EndedRun, { exits }: LineFormat, summary: Summary, stderr: string): Failure | null {
  const { status } = run.exit;
  const failed = (error: SessionError): Failure => ({ status: "failed", error });
  const exitClass = exits?.[status];
  const trouble = (message: string, known?: ErrorClass) => troubleError({ message, class: known }, run.now, exitClass);
  if (summary.trouble !== null) return failed(troubleError(summary.trouble, run.now, exitClass));
  if (status === 0 && summary.wasAborted) return failed(errorOf("killed", "", "STOPPED"));
  if (status === 0 && summary.hasEnded && summary.text !== "") return null;
  if (status === 0 && summary.refused.length > 0)
    return failed(errorOf("refused_permission", summary.refused.join(", ")));
  if (status === 0 && !summary.hasEnded) return failed(errorOf("crashed", ENDED_EARLY, "BROKEN_OFF"));
  if (status === 0) return failed(errorOf("empty_result", stderr));
  const exit = toRunExit(run.exit);
  if (exit.signal !== undefined) return failed(exitError(exit, stderr || summary.lastNote));
  const told = trouble(`${stderr} ${summary.lastNote}`.trim());
  return failed(told.code === "UNKNOWN" ? exitError(exit, stderr || summary.lastNote) : told);
}

const ENDED_EARLY = "nothing more: its output breaks off";

function refusals({ refused }: Summary): readonly Warning[] {
  if (refused.length === 0) return [];
  const message = `it was not allowed to use ${refused.join(", ")}: see whether the result lacks something (permissions, args)`;
  return [{ code: "TOOLS_REFUSED", message }];
}

/** Of a program whose exit says that it failed, and nothing else does. */
function exitError(exit: RunExit, said: string): SessionError {
  const how = exit.signal === undefined ? `exited with status ${exit.exitCode}` : `was ended by ${exit.signal}`;
  return {
    code: exit.signal === undefined ? "EXIT_STATUS" : "SIGNAL",
    message: said === "" ? `the program ${how}, with nothing on stderr` : `the program ${how}: ${said}`,
  };
}

/** A run that has no program, or never had one. */
export function failedRun(error: SessionError): RunEnd {
  return { exit: {}, outcome: { status: "failed", error } };
}

/** A run that the wrapper, or the host, would not start: `word` is its word for why. */
export function refusedRun(word: string): RunEnd {
  return failedRun(startError(word));
}

/** A run whose end nobody saw. */
export function lostRun(code: string, message: string): RunEnd {
  return { exit: {}, outcome: { status: "lost", error: { code, message } } };
}

/** A run whose time was over before it began. */
export function lateRun(): RunEnd {
  const message = "its total time (timeoutMs) was over before it could be started";
  return { exit: {}, outcome: { status: "timed_out", error: { code: "TIMED_OUT", message } } };
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
