/** What `doctor` found: a line for each finding as it comes, or all of it as JSON at the end. */
import { type Context, printJson } from "./context.ts";
import { EXIT } from "./failure.ts";
import type { Step } from "./path-steps.ts";
import type { Evidence } from "./path-test.ts";
import type { Style } from "./terminal.ts";
import { cutTo, oneLine } from "./text.ts";

export interface Finding {
  readonly about: string;
  /** `fail` keeps the daemon from its work; `warn` keeps a part of it. */
  readonly state: "ok" | "warn" | "fail";
  readonly message: string;
  /** Further lines below it. */
  readonly details?: readonly string[];
}

/** A task that went the whole way, or as far as it came. */
export interface PathReport extends Pick<Evidence, "agent" | "taskId" | "session"> {
  readonly name: string;
  readonly steps: readonly Step[];
}

const STYLES: Readonly<Record<Finding["state"], Style>> = { ok: "green", warn: "yellow", fail: "red" };

export class Report {
  readonly #context: Context;
  readonly #json: boolean;
  readonly #findings: Finding[] = [];
  readonly #paths: PathReport[] = [];
  #failed = false;
  #interrupted = false;
  #progress = "";

  constructor(context: Context, json: boolean) {
    this.#context = context;
    this.#json = json;
  }

  add(finding: Finding): void {
    this.#findings.push(finding);
    this.#note(finding);
  }

  /** Each step of it is a line. */
  addPath(path: PathReport): void {
    this.#paths.push(path);
    for (const { step, state, message, details } of path.steps)
      this.#note({
        about: path.name,
        state,
        message: `${step}: ${message}`,
        ...(details === undefined ? {} : { details }),
      });
  }

  /** What goes on just now, in the last line of a screen; no file or program gets it. */
  progress(text: string): void {
    const { terminal } = this.#context;
    if (this.#json || !terminal.isScreen || text === this.#progress) return;
    this.#progress = text;
    const line = text === "" ? "" : terminal.paint("dim", cutTo(oneLine(text), terminal.columns - 1));
    void terminal.write(`\r${line}${CLEAR_TO_END}`);
  }

  /** The person had enough of it. */
  interrupted(): void {
    this.#interrupted = true;
  }

  /** Says the last word, and what the process ends with. */
  end(): void {
    this.progress("");
    if (this.#failed) this.#context.exitCode = EXIT.failure;
    if (this.#interrupted) this.#context.exitCode = EXIT.interrupted;
    if (!this.#json) return;
    printJson(this.#context, {
      ok: !this.#failed && !this.#interrupted,
      findings: this.#findings,
      ...(this.#paths.length === 0 ? {} : { runs: this.#paths }),
    });
  }

  #note({ about, state, message, details = [] }: Finding): void {
    if (state === "fail") this.#failed = true;
    if (this.#json) return;
    this.progress("");
    const { terminal } = this.#context;
    terminal.print(
      `${terminal.paint(STYLES[state], state.padEnd(4))}  ${oneLine(about).padEnd(14)}  ${shown(message)}`,
    );
    for (const line of details) terminal.print(`${" ".repeat(22)}${shownDetail(line)}`);
  }
}

const CLEAR_TO_END = "\u001b[K";

function shown(message: string): string {
  return message.split("\n").map(oneLine).join(" ");
}

/** With the blanks at its beginning. */
function shownDetail(line: string): string {
  const indent = /^ */.exec(line)?.[0] ?? "";
  return indent + oneLine(line);
}
