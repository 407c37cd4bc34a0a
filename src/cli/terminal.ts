/** What the command has of the outside: its streams, environment and clock. Tests bring their own. */
import { once } from "node:events";
import { styleText } from "node:util";

export type Style = "bold" | "dim" | "green" | "yellow" | "red";

export interface Terminal {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** How many columns a line may take: without end where a program reads it. */
  readonly columns: number;
  /** Standard output is a screen, not a file or pipe. */
  readonly isScreen: boolean;
  now(): number;
  /** One or more lines on standard output; the last line break is added. */
  print(text: string): void;
  /** The same on standard error. */
  complain(text: string): void;
  /** Bytes on standard output as they are; resolves once more can be taken. */
  write(bytes: Uint8Array | string): Promise<void>;
  /** Colours text where a person looks at it and has not asked for none (no-color.org). */
  paint(style: Style, text: string): string;
  /** All of standard input as text. */
  readInput(): Promise<string>;
  /** Asks a question that yes or no answers; `null` where nobody is there to ask. */
  confirm(question: string): Promise<boolean | null>;
  /** Resolves after that time, or once the command is interrupted. */
  wait(delayMs: number): Promise<void>;
  /** From now on Ctrl-C and its like do not end the process, but abort the signal, so that there is time to clean up. */
  catchInterrupts(): Interrupts;
}

export interface Interrupts {
  readonly signal: AbortSignal;
  /** They end the process again. */
  release(): void;
}

/** Of a screen that does not say. */
const COLUMNS = 80;

/** The terminal of this process. A reader that went away (`| head`) ends the process quietly. */
export function processTerminal(): Terminal {
  const { stdin, stdout, stderr, env } = process;
  stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(0);
    stderr.write(`error: standard output cannot be written (${error.code})\n`);
    process.exit(1);
  });
  const colours = stdout.isTTY && !env.NO_COLOR && env.TERM !== "dumb";
  return {
    env,
    cwd: process.cwd(),
    columns: stdout.isTTY ? stdout.columns || Number(env.COLUMNS) || COLUMNS : Number.POSITIVE_INFINITY,
    isScreen: stdout.isTTY,
    now: Date.now,
    print: (text) => void stdout.write(`${text}\n`),
    complain: (text) => void stderr.write(`${text}\n`),
    write: async (bytes) => {
      if (!stdout.write(bytes)) await once(stdout, "drain");
    },
    paint: (style, text) => (colours ? styleText(style, text) : text),
    readInput: async () => {
      const parts: Buffer[] = [];
      for await (const part of stdin) parts.push(Buffer.from(part));
      return Buffer.concat(parts).toString("utf8");
    },
    confirm: async (question) => {
      if (!stdin.isTTY) return null;
      const { createInterface } = await import("node:readline/promises");
      const reader = createInterface({ input: stdin, output: stderr });
      const answer = await reader.question(`${question} [y/N] `);
      reader.close();
      return /^y(?:es)?$/i.test(answer.trim());
    },
    wait: (delayMs) => new Promise((resolve) => setTimeout(resolve, delayMs)),
    catchInterrupts: () => {
      const controller = new AbortController();
      const abort = () => controller.abort();
      // On every one of them: npx passes a Ctrl-C on that the terminal has sent already.
      for (const signal of INTERRUPTS) process.on(signal, abort);
      return {
        signal: controller.signal,
        release: () => {
          for (const signal of INTERRUPTS) process.off(signal, abort);
        },
      };
    },
  };
}

const INTERRUPTS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
