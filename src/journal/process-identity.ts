/** Who a process is, beyond its pid, and whether it is still there: a pid alone is never proof. */
import { readFile, readlink } from "node:fs/promises";
import { hostname } from "node:os";

export interface ProcessIdentity {
  readonly pid: number;
  /** In clock ticks since the boot; absent where there is no /proc. */
  readonly startTime?: string | undefined;
  readonly bootId?: string | undefined;
  /** A pid means something in its namespace only: in a container, another one. */
  readonly pidNamespace?: string | undefined;
  readonly machineId?: string | undefined;
  readonly host: string;
}

export type Life = "alive" | "dead" | "unknown";

export async function identifyThisProcess(): Promise<ProcessIdentity> {
  return {
    pid: process.pid,
    startTime: (await statOf(process.pid))?.startTime,
    bootId: await textOf("/proc/sys/kernel/random/boot_id"),
    pidNamespace: await readlink("/proc/self/ns/pid").catch(() => undefined),
    machineId: await textOf("/etc/machine-id"),
    host: hostname(),
  };
}

/** `alive` and `dead` are proven; what another machine or container says of itself cannot be checked from here. */
export async function lifeOf(other: ProcessIdentity, self: ProcessIdentity): Promise<Life> {
  if (other.host !== self.host) return "unknown";
  if (other.bootId !== self.bootId) {
    return other.machineId !== undefined && other.machineId === self.machineId ? "dead" : "unknown";
  }
  if (other.pidNamespace !== self.pidNamespace) return "unknown";
  if (!exists(other.pid)) return "dead";
  const stat = await statOf(other.pid);
  if (stat === undefined || other.startTime === undefined) return "unknown";
  return stat.startTime === other.startTime && !stat.gone ? "alive" : "dead";
}

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return !(error instanceof Error && "code" in error && error.code === "ESRCH");
  }
}

/** From `/proc/<pid>/stat`: the name in parentheses may contain anything; state is field 3, start time field 22. */
async function statOf(pid: number): Promise<{ startTime: string; gone: boolean } | undefined> {
  const text = await textOf(`/proc/${pid}/stat`);
  const fields = text?.slice(text.lastIndexOf(")") + 2).split(" ");
  const startTime = fields?.[22 - 3];
  return startTime === undefined ? undefined : { startTime, gone: /^[ZXx]/.test(fields?.[0] ?? "") };
}

async function textOf(path: string): Promise<string | undefined> {
  const text = await readFile(path, "utf8").catch(() => undefined);
  return text?.trim() || undefined;
}
