/** Work that was done suspiciously quickly: an agent that says "done" within seconds and used no tool has often done nothing. */
import type { Warning } from "../session.ts";

const QUICK_MS = 15_000;

/** `toolCalls`: `undefined` where the output does not tell. */
export function zeroWork(toolCalls: number | undefined, durationMs: number): readonly Warning[] {
  if (toolCalls !== 0 || durationMs >= QUICK_MS) return [];
  const seconds = Math.max(1, Math.round(durationMs / 1000));
  const message = `done within ${seconds} s and without using a single tool: look whether there was any work`;
  return [{ code: "ZERO_WORK", message }];
}
