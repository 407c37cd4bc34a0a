/**
 * One owner per data directory: a lock that is kept fresh (proper-lockfile), and a file that says who holds it. An owner that
 * is proven dead is replaced at once; one that is proven alive never; in between the age of the lock decides.
 */
import { randomBytes } from "node:crypto";
import * as fs from "node:fs";
import { readFile, rmdir, stat } from "node:fs/promises";
import { join } from "node:path";
import lockfile from "proper-lockfile";
import type { Clock } from "../dispatcher/ports.ts";
import { type Disk, noEntry } from "./disk.ts";
import type { Log } from "./log.ts";
import { identifyThisProcess, type Life, lifeOf, type ProcessIdentity } from "./process-identity.ts";

export const OWNER_FILE = "owner.json";
const LOCK = "lock";
const OPENING_LOCK = "opening.lock";

/** A lock that nobody renewed for so long is nobody's, where its owner cannot be checked. */
const STALE_MS = 10_000;
const RETRY_MS = 500;
/** How often an owner makes sure that it still is one. */
const WATCH_MS = 1000;

/** Thrown when another process owns the data directory, or may. */
export class DataDirectoryInUse extends Error {
  readonly code = "DATA_DIRECTORY_IN_USE";
  /** Absent where the lock's owner could not be read. */
  readonly pid: number | undefined;

  constructor(path: string, owner: Owner | undefined) {
    const who =
      owner === undefined ? "another process" : `process ${owner.pid} on ${owner.host}, started ${owner.ownedSince}`;
    super(`the data directory ${path} is in use by ${who}`);
    this.name = "DataDirectoryInUse";
    this.pid = owner?.pid;
  }
}

export interface OwnerOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly disk: Disk;
  /** Called once when the lock is gone or another's: nothing may be written any more. */
  readonly onLost: (error: Error) => void;
}

interface Owner extends ProcessIdentity {
  readonly ownedSince: string;
  /** Tells this ownership from every other one. */
  readonly token: string;
}

/** A held lock; `release` twice is fine. */
export interface Ownership {
  release(): Promise<void>;
}

/** `directory` must be a real path. Throws `DataDirectoryInUse`. */
export async function takeOwnership(directory: string, options: OwnerOptions): Promise<Ownership> {
  const self = await identifyThisProcess();
  const giveUpAt = options.clock.monotonic() + STALE_MS + 2 * RETRY_MS;
  for (;;) {
    const taken = await tryToTake(directory, self, options);
    if ("ownership" in taken) return taken.ownership;
    if (taken.life === "alive" || options.clock.monotonic() >= giveUpAt)
      throw new DataDirectoryInUse(directory, taken.owner);
    await new Promise<void>((resolve) => options.clock.after(RETRY_MS, resolve));
  }
}

type Attempt = { readonly ownership: Ownership } | { readonly owner: Owner | undefined; readonly life: Life };

/** Between the look at the old owner and the new owner's file, nobody else may look: that takes a lock of its own. */
async function tryToTake(directory: string, self: ProcessIdentity, options: OwnerOptions): Promise<Attempt> {
  const opened = await lockfile.lock(join(directory, "opening"), {
    lockfilePath: join(directory, OPENING_LOCK),
    realpath: false,
    stale: 2000,
    retries: { retries: 100, factor: 1, minTimeout: 50, maxTimeout: 50 },
    // It is held for some milliseconds: if it is lost, the lock that is taken meanwhile still tells.
    onCompromised: () => {},
  });
  try {
    const owner = await readOwner(directory);
    const life = owner === undefined ? "unknown" : await lifeOf(owner, self);
    if (life === "alive") return { owner, life };
    if (life === "dead") await rmdir(join(directory, LOCK)).catch(noEntry);
    const lock = new HeldLock(directory, options);
    if (!(await lock.take())) return { owner, life };
    try {
      await lock.name(self);
    } catch (error) {
      // Else whoever comes next would wait until the lock is stale.
      await lock.release();
      throw error;
    }
    if (life === "dead") options.log.info({ pid: owner?.pid }, "the last owner of the data directory died: replaced");
    return { ownership: lock };
  } finally {
    await opened().catch(() => {});
  }
}

async function readOwner(directory: string): Promise<Owner | undefined> {
  return parseOwner((await readFile(join(directory, OWNER_FILE), "utf8").catch(noEntry)) ?? "");
}

/** A file that cannot be read is no proof of anything, and not needed to be safe: the age of the lock decides. */
function parseOwner(text: string): Owner | undefined {
  try {
    const owner: unknown = JSON.parse(text);
    const isOne = typeof owner === "object" && owner !== null && "pid" in owner && "host" in owner && "token" in owner;
    return isOne ? (owner as Owner) : undefined;
  } catch {
    return undefined;
  }
}

class HeldLock implements Ownership {
  readonly #directory: string;
  readonly #options: OwnerOptions;
  readonly #token = randomBytes(16).toString("hex");
  #unlock: (() => Promise<void>) | undefined;
  #cancelWatch: (() => void) | undefined;
  #released: Promise<void> | undefined;
  #lost = false;
  #troubled = false;
  #looking: Promise<void> = Promise.resolve();

  constructor(directory: string, options: OwnerOptions) {
    this.#directory = directory;
    this.#options = options;
  }

  /** False where another holds it. */
  async take(): Promise<boolean> {
    try {
      this.#unlock = await lockfile.lock(join(this.#directory, OWNER_FILE), {
        lockfilePath: join(this.#directory, LOCK),
        realpath: false,
        stale: STALE_MS,
        // Removed by release alone: at the exit of the process, it may be the next owner's.
        fs: { ...fs, rmdirSync: () => {} },
        onCompromised: () => {
          this.#unlock = undefined;
        },
      });
      return true;
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "ELOCKED") return false;
      throw error;
    }
  }

  async name(self: ProcessIdentity): Promise<void> {
    const ownedSince = new Date(this.#options.clock.now()).toISOString();
    const owner: Owner = { ...self, ownedSince, token: this.#token };
    const text = `${JSON.stringify(owner, null, 2)}\n`;
    await this.#options.disk.replace(join(this.#directory, OWNER_FILE), (sink) => sink(Buffer.from(text)));
    this.#watch();
  }

  release(): Promise<void> {
    this.#released ??= this.#release();
    return this.#released;
  }

  async #release(): Promise<void> {
    this.#cancelWatch?.();
    await this.#looking;
    if (this.#lost) return;
    // In this order: without its file the lock is still a lock, but a file without its lock might be the next owner's.
    if (await this.#isMine().catch(() => false)) await this.#options.disk.remove(join(this.#directory, OWNER_FILE));
    await this.#unlock?.().catch(() => {});
  }

  #watch(): void {
    this.#cancelWatch = this.#options.clock.after(WATCH_MS, () => {
      this.#looking = this.#look();
    });
  }

  /** A disk that fails for a while, so that the lock cannot be kept fresh, is no reason to go; a lock that is another's is. */
  async #look(): Promise<void> {
    try {
      const isMine = await this.#isMine();
      if (this.#released !== undefined) return;
      if (!isMine) {
        this.#lost = true;
        this.#options.onLost(new Error("the lock of the data directory is gone, or another process has it"));
        return;
      }
      if (this.#unlock === undefined && (await this.take())) {
        this.#troubled = false;
        this.#options.log.info({}, "the lock of the data directory is kept fresh again");
      }
    } catch (error) {
      if (!this.#troubled)
        this.#options.log.warn({ err: error }, "the lock of the data directory cannot be kept fresh");
      this.#troubled = true;
    }
    if (this.#released === undefined) this.#watch();
  }

  /** Rejects where the disk does not tell. */
  async #isMine(): Promise<boolean> {
    const lock = await stat(join(this.#directory, LOCK)).catch(noEntry);
    return lock !== undefined && (await readOwner(this.#directory))?.token === this.#token;
  }
}
