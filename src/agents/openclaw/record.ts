/**
 * What the daemon knows of a child at a gateway, in `<data>/runs/<sessionId>.openclaw`: beside the run directory, where no program can
 * change to whom the token is sent. It is on the disk before the gateway is asked.
 */
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { type Static, Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { OpenClawSettings } from "../../config/schema.ts";
import { isThere } from "../run-directory.ts";

export const ChildRecord = Type.Object({
  version: Type.Literal(1),
  /** Where it was started, whatever the config says by now. */
  target: OpenClawSettings,
  killGraceMs: Type.Integer({ minimum: 0 }),
  maxOutputBytes: Type.Integer({ minimum: 0 }),
  /** How often the gateway was asked to start it, by an ask that it may have heard. */
  asks: Type.Integer({ minimum: 0 }),
  /** When it was asked last, ms since the epoch. */
  askedAt: Type.Integer(),
  /** The child's session, once it is known. */
  childKey: Type.Union([Type.String(), Type.Null()]),
});
export type ChildRecord = Readonly<Static<typeof ChildRecord>>;

/** `null`: no gateway was ever to start it. `damaged`: one was, and may have done so. */
export function readChildRecord(directory: string): ChildRecord | null | "damaged" {
  let text: string;
  try {
    text = readFileSync(recordFile(directory), "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return null;
    throw error;
  }
  try {
    const record: unknown = JSON.parse(text);
    return Value.Check(ChildRecord, record) ? record : "damaged";
  } catch {
    return "damaged";
  }
}

export function hasChildRecord(directory: string): boolean {
  return isThere(recordFile(directory));
}

/** On the disk when it returns, unlike a run's other records: no process of this machine tells of the child. */
export function writeChildRecord(directory: string, record: ChildRecord): void {
  const path = recordFile(directory);
  const fresh = `${path}.new`;
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const file = openSync(fresh, "w", 0o600);
  try {
    writeSync(file, `${JSON.stringify(record)}\n`);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(fresh, path);
  const folder = openSync(dirname(path), "r");
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

function recordFile(directory: string): string {
  return `${directory}.openclaw`;
}
