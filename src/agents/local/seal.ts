/**
 * What the daemon itself knows of a run on this machine, in `<data>/runs/<sessionId>.begun`: beside the run directory, in which the
 * program may change and remove what it likes. It is there before the wrapper is started, and says for ever that it was.
 */
import { readFileSync } from "node:fs";
import { type RunLimits, writeAtomically, writeOnce } from "../run-directory.ts";
import type { ProcessIdentity, ProgramRecord } from "../run-records.ts";

export interface Seal {
  readonly limits?: RunLimits | undefined;
  readonly mark?: string | undefined;
  /** The boot of the machine that it was made in: pids mean nothing in another one. */
  readonly boot?: string | undefined;
  readonly wrapper: ProcessIdentity | null;
  readonly guard: ProcessIdentity | null;
  readonly program: ProgramRecord | null;
}

export const EMPTY_SEAL: Seal = { wrapper: null, guard: null, program: null };

/** True for the one who may start the run. */
export function makeSeal(directory: string, seal: Seal): boolean {
  return writeOnce(sealFile(directory), `${JSON.stringify(seal)}\n`);
}

export function updateSeal(directory: string, seal: Seal): void {
  writeAtomically(sealFile(directory), `${JSON.stringify(seal)}\n`);
}

/** `null`: nobody has started the run. */
export function readSeal(directory: string): Seal | null {
  let text: string;
  try {
    text = readFileSync(sealFile(directory), "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return null;
    throw error;
  }
  try {
    return { ...EMPTY_SEAL, ...(JSON.parse(text) as Seal) };
  } catch {
    // The machine went down before its content was on the disk.
    return EMPTY_SEAL;
  }
}

function sealFile(directory: string): string {
  return `${directory}.begun`;
}
