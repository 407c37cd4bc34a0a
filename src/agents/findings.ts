/** What was found out about an agent, in the words that `check` and `doctor` show. */
import type { Finding } from "../dispatcher/ports.ts";

/** Room for output: less is told of, hardly any keeps work away. */
const DISK_LOW_BYTES = 1024 ** 3;
const DISK_FULL_BYTES = 16 * 1024 ** 2;
/** By so much a host's clock may be off before its times mislead whoever reads them; deadlines are kept by durations. */
const SKEW_MAX_MS = 5000;

/** Why nothing can be started; `null` = something can. */
export function problemOf(findings: readonly Finding[]): string | null {
  return findings.find(({ state }) => state === "fail")?.message ?? null;
}

/** `place`: where output is written; `freeBytes`: `null` = it cannot be written there. */
export function diskFinding(place: string, freeBytes: number | null): Finding {
  if (freeBytes === null)
    return {
      about: "disk",
      state: "fail",
      message: `${place} cannot be written: look who owns it, and whether it is full`,
    };
  const free = `${place} has ${sizeOf(freeBytes)} free`;
  if (freeBytes < DISK_FULL_BYTES)
    return { about: "disk", state: "fail", message: `${free}: too little for any output` };
  if (freeBytes < DISK_LOW_BYTES) return { about: "disk", state: "warn", message: `${free}: make room` };
  return { about: "disk", state: "ok", message: free };
}

/** `offMs`: the host's clock less ours; `withinMs`: how long it took to ask. */
export function clockFinding(offMs: number, withinMs: number): Finding {
  const seconds = Math.round(Math.abs(offMs) / 1000);
  if (Math.abs(offMs) <= SKEW_MAX_MS + withinMs)
    return { about: "clock", state: "ok", message: "its clock agrees with ours" };
  const way = offMs > 0 ? "ahead of" : "behind";
  const message = `its clock is ${seconds} s ${way} ours: set one of them (NTP), or the times in its logs mislead`;
  return { about: "clock", state: "warn", message };
}

function sizeOf(bytes: number): string {
  const gib = bytes / 1024 ** 3;
  return gib >= 1 ? `${gib.toFixed(gib < 10 ? 1 : 0)} GiB` : `${Math.floor(bytes / 1024 ** 2)} MiB`;
}
