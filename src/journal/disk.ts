/**
 * The calls that durability rests on, in one place, so that tests can count them, make the Nth one fail, and record them.
 * Whatever only reads goes to `node:fs` directly.
 */
import * as fs from "node:fs";
import { mkdir, open, realpath, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import writeFileAtomic from "write-file-atomic";

export const FILE_MODE = 0o600;
export const DIRECTORY_MODE = 0o700;

/** An open file. Every method rejects with the system's error. */
export interface DiskFile {
  /** Writes all of `bytes` at `position`. */
  write(bytes: Uint8Array, position: number): Promise<void>;
  /** Reads up to `buffer.length` bytes at `position`; resolves with how many there were. */
  read(buffer: Uint8Array, position: number): Promise<number>;
  truncate(length: number): Promise<void>;
  /** Content and length are on disk. */
  datasync(): Promise<void>;
  /** Content, length and metadata are on disk. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

/** Hands over the next bytes of a file that is being replaced. */
export type Sink = (bytes: Uint8Array) => Promise<void>;

export interface Disk {
  /** Creates a file for its owner alone; fails with EEXIST where there is one. */
  create(path: string): Promise<DiskFile>;
  /** Opens an existing file for reading and writing. */
  open(path: string): Promise<DiskFile>;
  /** Creates the directory and those above it, for its owner alone, all on disk; nothing where it exists. */
  makeDirectory(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** Removes a file or a directory with all that is in it; nothing where there is none. */
  remove(path: string): Promise<void>;
  /** The names in the directory are on disk: after creating, renaming or removing one. */
  syncDirectory(path: string): Promise<void>;
  /**
   * Replaces a file in one step: readers and crashes see the old content or all of the new one, which is on disk when
   * this resolves. Rejects, with the old content in place, when `fill` does.
   */
  replace(path: string, fill: (sink: Sink) => Promise<void>): Promise<void>;
}

export const realDisk: Disk = {
  async create(path) {
    return new RealFile(await openFile(path, "wx"));
  },
  async open(path) {
    return new RealFile(await openFile(path, "r+"));
  },
  async makeDirectory(path) {
    if (await isDirectory(path)) return;
    // Level by level: where a directory cannot be made (in /proc), Node's own recursive mkdir never comes to an end.
    if (dirname(path) !== path) await realDisk.makeDirectory(dirname(path));
    try {
      await mkdir(path, { mode: DIRECTORY_MODE });
    } catch (error) {
      if (!(await isDirectory(path))) throw error;
    }
    await realDisk.syncDirectory(dirname(path));
  },
  rename,
  remove: (path) => rm(path, { recursive: true, force: true }),
  async syncDirectory(path) {
    const handle = await open(path, "r");
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  },
  async replace(path, fill) {
    // write-file-atomic takes a short write (a disk that is nearly full) for success and renames the stump over the good
    // file. So it makes, syncs and renames the temporary file, but the bytes are written here.
    const tmpfileCreated = async (temporary: string): Promise<void> => {
      const file = await realDisk.open(temporary);
      let position = 0;
      try {
        await fill(async (bytes) => {
          await file.write(bytes, position);
          position += bytes.length;
        });
      } finally {
        await file.close();
      }
    };
    await writeFileAtomic(path, "", { mode: FILE_MODE, tmpfileCreated });
    await realDisk.syncDirectory(dirname(await realpath(path)));
  },
};

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    noEntry(error);
    return false;
  }
}

// The hot path: callbacks cost half of what a FileHandle does.
class RealFile implements DiskFile {
  readonly #fd: number;

  constructor(fd: number) {
    this.#fd = fd;
  }

  write(bytes: Uint8Array, position: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const from = (done: number): void => {
        fs.write(this.#fd, bytes, done, bytes.length - done, position + done, (error, written) => {
          if (error !== null) reject(error);
          else if (done + written === bytes.length) resolve();
          else from(done + written);
        });
      };
      from(0);
    });
  }

  read(buffer: Uint8Array, position: number): Promise<number> {
    return new Promise((resolve, reject) => {
      fs.read(this.#fd, buffer, 0, buffer.length, position, (error, count) => {
        if (error === null) resolve(count);
        else reject(error);
      });
    });
  }

  truncate(length: number): Promise<void> {
    return new Promise((resolve, reject) => fs.ftruncate(this.#fd, length, settle(resolve, reject)));
  }

  datasync(): Promise<void> {
    return new Promise((resolve, reject) => fs.fdatasync(this.#fd, settle(resolve, reject)));
  }

  sync(): Promise<void> {
    return new Promise((resolve, reject) => fs.fsync(this.#fd, settle(resolve, reject)));
  }

  close(): Promise<void> {
    return new Promise((resolve, reject) => fs.close(this.#fd, settle(resolve, reject)));
  }
}

function openFile(path: string, flags: string): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.open(path, flags, FILE_MODE, (error, fd) => {
      if (error === null) resolve(fd);
      else reject(error);
    });
  });
}

function settle(resolve: () => void, reject: (error: Error) => void): (error?: Error | null) => void {
  return (error) => {
    if (error) reject(error);
    else resolve();
  };
}

/** For `catch`: a file or directory that is not there is `undefined`. */
export function noEntry(error: unknown): undefined {
  if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
  throw error;
}
