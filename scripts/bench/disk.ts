/** What the disk itself gives. */
import { closeSync, fdatasyncSync, openSync, rmSync, writeSync } from "node:fs";
import { median } from "./sample.ts";

const APPENDS = 200;

/** The middle of the times of an append of 4 KiB with fdatasync, in ms. */
export function syncMs(file: string): number {
  const block = Buffer.alloc(4096, "x");
  const descriptor = openSync(file, "a");
  const times = Array.from({ length: APPENDS }, () => {
    const startedAt = performance.now();
    writeSync(descriptor, block);
    fdatasyncSync(descriptor);
    return performance.now() - startedAt;
  });
  closeSync(descriptor);
  rmSync(file);
  return median(times);
}
