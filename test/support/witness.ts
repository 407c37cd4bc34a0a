/**
 * A stand-in for an agent's program that leaves a line in one common file when it begins and when it ends, and what that
 * file says afterwards: who was started twice, and which runs overlapped that must not.
 */
import { closeSync, openSync, readSync } from "node:fs";
import type { Home } from "./daemon.ts";

export interface ProgramTask {
  readonly number: number;
  readonly agent: string;
  /** The path that it locks, whose first letter decides what it excludes. */
  readonly file: string | undefined;
  readonly succeeds: boolean;
  readonly seconds: number;
}

/** A task's id is all that its program and the reader of the common file have in common, so all stands in there. */
export function programTaskId({ number, agent, file, succeeds, seconds }: ProgramTask): string {
  return `t${number}-${agent}-${file?.charAt(0) ?? "none"}-${succeeds ? "ok" : "bad"}-${seconds}`;
}

const PROGRAM = `#!/bin/sh
log=$1
trap 'echo "end $JARVIS_SESSION_ID $JARVIS_TASK_ID stopped" >>"$log"; exit 143' TERM
echo "start $JARVIS_SESSION_ID $JARVIS_TASK_ID" >>"$log"
sleep "\${JARVIS_TASK_ID##*-}"
case $JARVIS_TASK_ID in
  *-bad-*) echo "end $JARVIS_SESSION_ID $JARVIS_TASK_ID bad" >>"$log"; echo "no" >&2; exit 3 ;;
esac
echo "the result of $JARVIS_SESSION_ID"
echo "end $JARVIS_SESSION_ID $JARVIS_TASK_ID ok" >>"$log"
`;

export type WitnessedEnd = "ok" | "bad" | "stopped";

interface WitnessedRun {
  readonly taskId: string;
  end: WitnessedEnd | null;
}

export class Witness {
  readonly runs = new Map<string, WitnessedRun>();
  readonly command: readonly string[];
  readonly #file: string;
  readonly #slots: ReadonlyMap<string, number>;
  readonly #open = new Map<string, WitnessedRun>();
  #offset = 0;
  #pending = "";

  /** `slots`: how many runs each agent may have at once. */
  constructor(home: Home, slots: ReadonlyMap<string, number>) {
    this.#file = home.path("witness.log");
    this.#slots = slots;
    closeSync(openSync(this.#file, "a"));
    this.command = [home.script("witness.sh", PROGRAM), this.#file];
  }

  /** Begun, and not ended yet. */
  get open(): readonly string[] {
    return [...this.#open.keys()];
  }

  /** Reads what is new; returns everything in it that must not be. */
  read(): readonly string[] {
    return this.#newLines().flatMap((line) => {
      const [word = "", sessionId = "", taskId = "", end] = line.split(" ");
      if (word === "start") return this.#started(sessionId, taskId);
      if (word === "end") return this.#ended(sessionId, end as WitnessedEnd);
      return [`a line of ${this.#file} is broken: ${JSON.stringify(line)}`];
    });
  }

  #started(sessionId: string, taskId: string): string[] {
    const wrong: string[] = [];
    if (this.runs.has(sessionId)) wrong.push(`the program of ${sessionId} was started twice`);
    const [, agent = "", lock] = taskId.split("-");
    let used = 1;
    for (const [otherId, other] of this.#open) {
      const [, otherAgent, otherLock] = other.taskId.split("-");
      if (other.taskId === taskId) wrong.push(`${taskId} ran twice at once: ${otherId} and ${sessionId}`);
      else if (lock !== "none" && lock === otherLock)
        wrong.push(`${taskId} and ${other.taskId} ran at once, though their locks overlap`);
      if (otherAgent === agent) used++;
    }
    if (used > (this.#slots.get(agent) ?? 0)) wrong.push(`${agent} had ${used} runs at once`);
    const run = { taskId, end: null };
    this.runs.set(sessionId, run);
    this.#open.set(sessionId, run);
    return wrong;
  }

  #ended(sessionId: string, end: WitnessedEnd): string[] {
    const run = this.#open.get(sessionId);
    if (run === undefined) {
      // Stopped in the moment after its last word.
      return end === "stopped" && this.runs.has(sessionId)
        ? []
        : [`the program of ${sessionId} ended, but never began`];
    }
    run.end = end;
    this.#open.delete(sessionId);
    return [];
  }

  #newLines(): readonly string[] {
    const fd = openSync(this.#file, "r");
    try {
      const buffer = Buffer.alloc(64 * 1024);
      for (let count = readSync(fd, buffer, 0, buffer.length, this.#offset); count > 0; ) {
        this.#pending += buffer.toString("latin1", 0, count);
        this.#offset += count;
        count = readSync(fd, buffer, 0, buffer.length, this.#offset);
      }
    } finally {
      closeSync(fd);
    }
    const lines = this.#pending.split("\n");
    this.#pending = lines.pop() ?? "";
    return lines;
  }
}
