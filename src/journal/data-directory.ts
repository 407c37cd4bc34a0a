/** The data directory: one owner, an id that its files carry, and the secret that callback tokens are made with. */
import { randomBytes } from "node:crypto";
import { chmod, readdir, readFile, realpath, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { Clock } from "../dispatcher/ports.ts";
import { DamagedData } from "./damage.ts";
import { DIRECTORY_MODE, type Disk, noEntry, realDisk } from "./disk.ts";
import type { Log } from "./log.ts";
import { OWNER_FILE, type Ownership, takeOwnership } from "./owner.ts";
import { JOURNAL, listSegments } from "./segment.ts";

export const ID_FILE = "id";
export const SECRET_FILE = "secret";

export interface DataDirectoryOptions {
  /** Names of all state files: what a crash left of a half-written one is removed. */
  readonly stateFiles: readonly string[];
  readonly clock: Clock;
  readonly log: Log;
  /** Called once when another process took the directory, or it was removed: exit without another write. */
  readonly onLost: (error: Error) => void;
  /** For a directory that is new. Default: random. */
  readonly fresh?: { readonly id: () => string; readonly secret: () => string };
  readonly disk?: Disk;
}

export interface DataDirectory {
  /** Without symbolic links. */
  readonly path: string;
  /** What state files and segments carry, so that those of another directory are noticed. */
  readonly id: string;
  /** 64 hexadecimal digits. */
  readonly secret: string;
  /** Gives the directory up; twice is fine. */
  close(): Promise<void>;
}

/**
 * Makes the directory where it is missing and owns it from now on. Throws `DataDirectoryInUse` when another process does,
 * `DamagedData` when its id or secret is damaged.
 */
export async function openDataDirectory(path: string, options: DataDirectoryOptions): Promise<DataDirectory> {
  const { disk = realDisk } = options;
  const owned = await ownDataDirectory(path, options);
  try {
    await removeTemporaries(owned.path, options.stateFiles, disk);
    const known = await readId(owned.path);
    const id = known ?? (await makeId(owned.path, options, disk));
    const secret = await readOrMakeSecret(owned.path, options, disk, known === undefined);
    return { path: owned.path, id, secret, close: () => owned.ownership.release() };
  } catch (error) {
    await owned.ownership.release();
    throw error;
  }
}

/** The first half alone: for whoever has to mend the rest. Throws `DataDirectoryInUse`. */
export async function ownDataDirectory(
  path: string,
  { clock, log, onLost, disk = realDisk }: Pick<DataDirectoryOptions, "clock" | "log" | "onLost" | "disk">,
): Promise<{ path: string; ownership: Ownership }> {
  const wanted = resolve(path);
  await disk.makeDirectory(wanted);
  const real = await realpath(wanted);
  await makePrivate(real, log);
  for (const folder of [JOURNAL, "runs", "archive"]) await disk.makeDirectory(join(real, folder));
  return { path: real, ownership: await takeOwnership(real, { clock, log, onLost, disk }) };
}

/** Who made the directory by hand may not have thought of its mode: what lies in it is for its owner alone. */
async function makePrivate(directory: string, log: Log): Promise<void> {
  const { mode } = await stat(directory);
  if ((mode & 0o077) === 0) return;
  await chmod(directory, DIRECTORY_MODE);
  log.warn(
    { directory, was: (mode & 0o777).toString(8) },
    "the data directory was open to others: it is its owner's alone now",
  );
}

/** The id; `undefined` where there is none. Throws `DamagedData`. */
export async function readId(directory: string): Promise<string | undefined> {
  return await readWord(directory, ID_FILE, /^[A-Za-z0-9-]{8,64}$/, "an id");
}

/** The secret; `undefined` where there is none. Throws `DamagedData`. */
export async function readSecret(directory: string): Promise<string | undefined> {
  return await readWord(directory, SECRET_FILE, /^[0-9a-f]{64}$/, "64 hexadecimal digits");
}

export function freshId(): string {
  return randomBytes(16).toString("hex");
}

export function freshSecret(): string {
  return randomBytes(32).toString("hex");
}

/** Creates a file with one line, all of it on disk or none. */
export async function makeWord(directory: string, name: string, word: string, disk: Disk): Promise<void> {
  const begun = join(directory, `${name}.begun`);
  await disk.remove(begun);
  const file = await disk.create(begun);
  try {
    await file.write(Buffer.from(`${word}\n`), 0);
    await file.sync();
  } finally {
    await file.close();
  }
  await disk.rename(begun, join(directory, name));
  await disk.syncDirectory(directory);
}

async function makeId(directory: string, options: DataDirectoryOptions, disk: Disk): Promise<string> {
  const names = await readdir(directory);
  const stateFile = options.stateFiles.find((name) => names.includes(name));
  const segment = (await listSegments(join(directory, JOURNAL)))[0]?.name;
  const data = stateFile ?? (segment === undefined ? undefined : `${JOURNAL}/${segment}`);
  if (data !== undefined) {
    const found = `no file, although there is ${data}`;
    throw new DamagedData({ file: ID_FILE, position: 0, wanted: "the id of this data directory", found });
  }
  const fresh = (options.fresh?.id ?? freshId)();
  await makeWord(directory, ID_FILE, fresh, disk);
  return fresh;
}

async function readOrMakeSecret(
  directory: string,
  options: DataDirectoryOptions,
  disk: Disk,
  isNew: boolean,
): Promise<string> {
  const secret = await readSecret(directory);
  if (secret !== undefined) return secret;
  if (!isNew)
    options.log.warn({ file: SECRET_FILE }, "the secret is gone: callback tokens handed out before are no longer good");
  const fresh = (options.fresh?.secret ?? freshSecret)();
  await makeWord(directory, SECRET_FILE, fresh, disk);
  return fresh;
}

async function readWord(directory: string, file: string, valid: RegExp, wanted: string): Promise<string | undefined> {
  const text = await readFile(join(directory, file), "utf8").catch(noEntry);
  if (text === undefined) return undefined;
  const word = text.trim();
  if (valid.test(word)) return word;
  throw new DamagedData({ file, position: 0, wanted, found: word === "" ? "an empty file" : "something else" });
}

/** What write-file-atomic leaves when the process dies in the middle: the file's name, a dot and a number. */
async function removeTemporaries(directory: string, stateFiles: readonly string[], disk: Disk): Promise<void> {
  const ours = new Set([...stateFiles, OWNER_FILE]);
  for (const name of await readdir(directory)) {
    const [, file] = /^(.+)\.\d+$/.exec(name) ?? [];
    if (file !== undefined && ours.has(file)) await disk.remove(join(directory, name));
  }
}
