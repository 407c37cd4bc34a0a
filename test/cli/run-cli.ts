/** Runs the command in this process with a terminal that remembers. */
import { runCommand } from "../../src/cli/program.ts";
import type { Terminal } from "../../src/cli/terminal.ts";

export interface CliRun {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

export interface CliSurroundings extends Partial<Pick<Terminal, "columns" | "isScreen" | "now" | "wait">> {
  readonly env?: Record<string, string>;
  readonly cwd?: string;
  readonly input?: string;
  /** What the person at the terminal answers; absent = there is nobody. */
  readonly answer?: boolean;
}

export const NOW = Date.parse("2026-11-22T12:00:00.000Z");

export async function runCli(args: readonly string[], surroundings: CliSurroundings = {}): Promise<CliRun> {
  const { env, cwd = "/nowhere", input = "", answer, ...rest } = surroundings;
  let out = "";
  let err = "";
  const decoder = new TextDecoder();
  const terminal: Terminal = {
    env: { HOME: "/home/someone", USER: "someone", ...env },
    cwd,
    columns: 80,
    isScreen: false,
    now: () => NOW,
    print: (text) => {
      out += `${text}\n`;
    },
    complain: (text) => {
      err += `${text}\n`;
    },
    write: async (bytes) => {
      out += typeof bytes === "string" ? bytes : decoder.decode(bytes, { stream: true });
    },
    paint: (_style, text) => text,
    readInput: async () => input,
    confirm: async (question) => {
      err += `${question}\n`;
      return answer ?? null;
    },
    wait: async () => {},
    catchInterrupts: () => ({ signal: new AbortController().signal, release: () => {} }),
    ...rest,
  };
  const status = await runCommand(args, terminal);
  return { status, out, err };
}
