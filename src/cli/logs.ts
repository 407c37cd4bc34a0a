/** `logs`: what an agent's program wrote. */
import type { Command } from "commander";
import { ACTIVE_STATUSES, type Client, ConnectionError, type LogFormat, type LogStream } from "../api/client.ts";
import type { Session } from "../api/session.ts";
import { type Context, connect, printJson } from "./context.ts";
import { EXIT, Failure } from "./failure.ts";
import { findSession } from "./find-session.ts";
import type { Terminal } from "./terminal.ts";
import { manyLines, oneLine } from "./text.ts";

interface LogOptions {
  readonly follow?: boolean;
  readonly stderr?: boolean;
  readonly raw?: boolean;
  readonly json?: boolean;
}

export function addLogs(context: Context): Command {
  return context.program
    .command("logs <id>")
    .description("print what a session's program wrote (or that of a task's newest session)")
    .option("-f, --follow", "go on until the session ends")
    .option("--stderr", "its error output instead")
    .option("--raw", "as the program wrote it, where that is no plain text")
    .option("--json", "print JSON: { sessionId, stream, text, nextOffset }")
    .addHelpText("after", "\nExample:\n  $ jarvis-orchestrator logs -f task_01J")
    .action((id: string, options: LogOptions) => logs(context, id, options));
}

async function logs(context: Context, id: string, options: LogOptions): Promise<void> {
  if (options.json && options.follow) throw new Failure("--json and --follow exclude each other", EXIT.usage);
  const client = connect(context);
  const { id: sessionId } = await findSession(client, id, "any");
  const stream: LogStream = options.stderr ? "stderr" : "stdout";
  const source: Source = { client, sessionId, stream, format: options.raw ? "raw" : "readable" };
  if (options.json) return printWhole(context, client, sessionId, stream);
  const { terminal } = context;
  const write = terminal.isScreen ? screenWriter(terminal) : terminal.write;
  const length = options.follow ? await follow(context, source, write) : await copy(source, write);
  if (length === 0) terminal.complain(`note: ${oneLine(silence(await client.session(sessionId), stream))}`);
}

/** Why there is nothing to print. */
function silence({ id, status, method, error, pid, exitCode, signal }: Session, stream: LogStream): string {
  if (method === "sessions_spawn") return `${id} runs with Jarvis: what it writes does not come here`;
  if (ACTIVE_STATUSES.some((each) => each === status))
    return `${id} has written nothing to ${stream} yet (-f waits for it)`;
  if (error !== undefined && pid === undefined && exitCode === undefined && signal === undefined) {
    return `${id} ${status} before its program ran: ${error.message}`;
  }
  const other = stream === "stdout" ? " (--stderr prints its error output)" : "";
  return `${id} wrote nothing to ${stream}${error === undefined ? "" : `: ${error.message}`}${other}`;
}

interface Source {
  readonly client: Client;
  readonly sessionId: string;
  readonly stream: LogStream;
  readonly format: LogFormat;
}

type Write = (bytes: Uint8Array) => void | Promise<void>;

const RECONNECT_MS = 1000;
/** In a row: long enough for a daemon that is restarted. */
const RECONNECTS_MAX = 30;

/** Prints what comes until the session ends, and resolves to its length; a connection that breaks is made again where it was. */
async function follow(context: Context, { client, sessionId, stream, format }: Source, write: Write): Promise<number> {
  const encoder = new TextEncoder();
  let offset = 0;
  let failures = 0;
  for (;;) {
    try {
      for await (const { text, nextOffset, isLast } of client.followLog(sessionId, stream, offset, format)) {
        await write(encoder.encode(text));
        offset = nextOffset;
        failures = 0;
        if (isLast) return offset;
      }
    } catch (error) {
      failures++;
      const isPassing = error instanceof ConnectionError && error.code !== "NOT_JARVIS";
      if (!isPassing || failures > RECONNECTS_MAX) throw error;
      if (failures === 1) context.terminal.complain(`note: ${error.message}; trying again`);
      await context.terminal.wait(RECONNECT_MS);
    }
  }
}

/** Hands on what there is; resolves to the offset behind it. */
async function copy({ client, sessionId, stream, format }: Source, write: Write): Promise<number> {
  for (let offset = 0; ; ) {
    const { body, nextOffset } = await client.log(sessionId, stream, offset, format);
    for await (const bytes of body) await write(bytes);
    // The daemon may send a long log in parts, and a running session may have written more meanwhile.
    if (nextOffset <= offset) return offset;
    offset = nextOffset;
  }
}

async function printWhole(context: Context, client: Client, sessionId: string, stream: LogStream): Promise<void> {
  const parts: Uint8Array[] = [];
  const nextOffset = await copy({ client, sessionId, stream, format: "raw" }, (bytes) => void parts.push(bytes));
  printJson(context, { sessionId, stream, text: Buffer.concat(parts).toString("utf8"), nextOffset });
}

/** A program's output may hold escape sequences; a screen gets it without, a file as it is. */
function screenWriter(terminal: Terminal): (bytes: Uint8Array) => Promise<void> {
  const decoder = new TextDecoder();
  let heldBack = "";
  return async (bytes) => {
    const text = heldBack + decoder.decode(bytes, { stream: true });
    const cut = text.search(UNFINISHED_SEQUENCE);
    heldBack = cut < 0 ? "" : text.slice(cut);
    await terminal.write(manyLines(cut < 0 ? text : text.slice(0, cut)));
  };
}

const ESCAPE = "\u001b";
/** An escape sequence that the end of a part cuts in two, a CSI or an OSC. */
const UNFINISHED_SEQUENCE = new RegExp(`${ESCAPE}(?:\\[[0-?]*[ -/]*|\\][^\\u0007${ESCAPE}]{0,200})?$`);
