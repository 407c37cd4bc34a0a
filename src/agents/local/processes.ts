/** What the kernel of this machine says of processes: Linux's /proc where there is one, `ps` elsewhere. */
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import type { ProcessIdentity } from "../run-records.ts";

const HAS_PROC = existsSync("/proc/self/stat");

/** True when exactly this process lives; a zombie does not. */
export function isAlive({ pid, start }: ProcessIdentity): boolean {
  const found = HAS_PROC ? readStat(pid) : askPs(pid);
  return found !== null && found.start === start && !found.isZombie;
}

/** Who has this pid now; `null` when nobody does. */
export function identify(pid: number): ProcessIdentity | null {
  const found = HAS_PROC ? readStat(pid) : askPs(pid);
  return found === null || found.isZombie ? null : { pid, start: found.start };
}

/** Cheap: some process has this pid. */
export function isPidTaken(pid: number): boolean {
  return signal(pid, 0);
}

/** True when the process group has a member that lives. */
export function isGroupAlive(group: number): boolean {
  if (!signal(-group, 0)) return false;
  return HAS_PROC ? scanProc(group) : scanPs(group);
}

/** Sends a signal to a pid, or to the group of a negative one; false when there is nothing that would get it. */
export function signal(pid: number, name: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(pid, name);
  } catch (error) {
    // EPERM: it is there, but somebody else's.
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}

let boot: string | undefined;

/** This boot of the machine, as `run.sh` writes it; empty where the system does not tell. */
export function bootId(): string {
  boot ??= readBootId();
  return boot;
}

function readBootId(): string {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  } catch {
    return ask("sysctl", ["-n", "kern.bootsessionuuid"]) || ask("sysctl", ["-n", "kern.boottime"]);
  }
}

interface FoundProcess {
  readonly start: string;
  readonly group: number;
  readonly isZombie: boolean;
}

/** The fields of /proc/<pid>/stat after the name, which may hold anything: state, ppid, pgrp, ... the 20th is the start time. */
function readStat(pid: number): FoundProcess | null {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, "latin1");
  } catch (error) {
    // Whatever else is wrong, such as too many open files, is no proof that the process is gone.
    const code = error instanceof Error && "code" in error ? error.code : "";
    if (code === "ENOENT" || code === "ESRCH") return null;
    throw error;
  }
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return { start: fields[19] ?? "", group: Number(fields[2]), isZombie: fields[0] === "Z" || fields[0] === "X" };
}

function scanProc(group: number): boolean {
  return readdirSync("/proc").some((name) => {
    if (!/^[0-9]+$/.test(name)) return false;
    const found = readStat(Number(name));
    return found !== null && found.group === group && !found.isZombie;
  });
}

function askPs(pid: number): FoundProcess | null {
  const [state, group, ...start] = ask("ps", ["-o", "stat=", "-o", "pgid=", "-o", "lstart=", "-p", String(pid)]).split(
    /\s+/,
  );
  if (!state) return null;
  return { start: start.join(" "), group: Number(group), isZombie: state.startsWith("Z") };
}

function scanPs(group: number): boolean {
  const members = ask("ps", ["-A", "-o", "pgid=", "-o", "stat="]).split("\n");
  return members.some((line) => {
    const [pgid, state] = line.trim().split(/\s+/);
    return Number(pgid) === group && state?.startsWith("Z") === false;
  });
}

function ask(program: string, args: readonly string[]): string {
  try {
    const env = { ...process.env, TZ: "UTC", LC_ALL: "C" };
    return execFileSync(program, args, { encoding: "utf8", env, stdio: ["ignore", "pipe", "ignore"] }).trim();
  } catch {
    return "";
  }
}
