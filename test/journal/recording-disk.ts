/**
 * A disk that remembers what was written, synced and renamed, and tells which states a power cut may leave: bytes and names
 * that were not synced may be there, in part, or not at all.
 */
import type { Disk, DiskFile } from "../../src/journal/disk.ts";
import { hastyDisk } from "./support.ts";

type Operation =
  | { readonly kind: "create" | "sync"; readonly file: number; readonly path: string }
  | { readonly kind: "write"; readonly file: number; readonly position: number; readonly bytes: Buffer }
  | { readonly kind: "truncate"; readonly file: number; readonly length: number }
  | { readonly kind: "rename"; readonly path: string; readonly to: string }
  | { readonly kind: "remove" | "syncDirectory"; readonly path: string }
  | { readonly kind: "mark"; readonly mark: unknown };

/** Files with their content, and all that was marked until then. */
export interface CrashState {
  readonly what: string;
  readonly files: ReadonlyMap<string, Buffer>;
  readonly marks: readonly unknown[];
}

export class RecordingDisk implements Disk {
  readonly #root: string;
  readonly #operations: Operation[] = [];
  readonly #names = new Map<string, number>();
  #files = 0;

  /** Paths are told relative to `root`. */
  constructor(root: string) {
    this.#root = root;
  }

  /** Notes that something was promised at this point. */
  mark(mark: unknown): void {
    this.#operations.push({ kind: "mark", mark });
  }

  async create(path: string): Promise<DiskFile> {
    const file = await hastyDisk.create(path);
    return this.#recordFile(this.#nameFile(path), path, file);
  }

  async open(path: string): Promise<DiskFile> {
    const file = await hastyDisk.open(path);
    return this.#recordFile(this.#names.get(this.#relative(path)) ?? this.#nameFile(path), path, file);
  }

  makeDirectory(path: string): Promise<void> {
    return hastyDisk.makeDirectory(path);
  }

  async rename(from: string, to: string): Promise<void> {
    await hastyDisk.rename(from, to);
    this.#operations.push({ kind: "rename", path: this.#relative(from), to: this.#relative(to) });
    renameIn(this.#names, this.#relative(from), this.#relative(to));
  }

  async remove(path: string): Promise<void> {
    await hastyDisk.remove(path);
    this.#operations.push({ kind: "remove", path: this.#relative(path) });
    removeIn(this.#names, this.#relative(path));
  }

  async syncDirectory(path: string): Promise<void> {
    await hastyDisk.syncDirectory(path);
    this.#operations.push({ kind: "syncDirectory", path: this.#relative(path) });
  }

  /** As the real one does it: a temporary file is written, synced and renamed, then the directory is synced. */
  async replace(path: string, fill: (sink: (bytes: Uint8Array) => Promise<void>) => Promise<void>): Promise<void> {
    const pieces: Buffer[] = [];
    await hastyDisk.replace(path, (sink) =>
      fill(async (bytes) => {
        pieces.push(Buffer.from(bytes));
        await sink(bytes);
      }),
    );
    const temporary = `${path}.123`;
    const file = this.#nameFile(temporary);
    this.#operations.push({ kind: "write", file, position: 0, bytes: Buffer.concat(pieces) });
    this.#operations.push({ kind: "sync", file, path: temporary });
    this.#operations.push({ kind: "rename", path: this.#relative(temporary), to: this.#relative(path) });
    renameIn(this.#names, this.#relative(temporary), this.#relative(path));
    const folder = this.#relative(path).split("/").slice(0, -1).join("/");
    this.#operations.push({ kind: "syncDirectory", path: folder });
  }

  /** Every state that a power cut after any operation may leave. */
  *crashStates(): Generator<CrashState> {
    const model = new Model();
    for (const [i, operation] of this.#operations.entries()) {
      model.apply(operation);
      if (operation.kind !== "mark") yield* model.states(`${i + 1} ${operation.kind}`);
    }
  }

  #nameFile(path: string): number {
    const file = this.#files++;
    this.#names.set(this.#relative(path), file);
    this.#operations.push({ kind: "create", file, path: this.#relative(path) });
    return file;
  }

  #recordFile(id: number, path: string, file: DiskFile): DiskFile {
    return {
      write: async (bytes, position) => {
        await file.write(bytes, position);
        this.#operations.push({ kind: "write", file: id, position, bytes: Buffer.from(bytes) });
      },
      read: (buffer, position) => file.read(buffer, position),
      truncate: async (length) => {
        await file.truncate(length);
        this.#operations.push({ kind: "truncate", file: id, length });
      },
      datasync: async () => {
        await file.datasync();
        this.#operations.push({ kind: "sync", file: id, path });
      },
      sync: async () => {
        await file.sync();
        this.#operations.push({ kind: "sync", file: id, path });
      },
      close: () => file.close(),
    };
  }

  #relative(path: string): string {
    return path.slice(this.#root.length + 1);
  }
}

type Names = Map<string, number>;
type NameChange = { readonly folders: readonly string[]; readonly apply: (names: Names) => void };

/** What is surely on disk, and what may be. */
class Model {
  readonly #synced = new Map<number, Buffer>();
  readonly #pending = new Map<number, (Operation & { kind: "write" | "truncate" })[]>();
  readonly #names: Names = new Map();
  #changes: NameChange[] = [];
  readonly #marks: unknown[] = [];

  apply(operation: Operation): void {
    switch (operation.kind) {
      case "mark":
        this.#marks.push(operation.mark);
        return;
      case "create":
        this.#synced.set(operation.file, Buffer.alloc(0));
        this.#change([operation.path], (names) => names.set(operation.path, operation.file));
        return;
      case "write":
      case "truncate":
        this.#pending.set(operation.file, [...(this.#pending.get(operation.file) ?? []), operation]);
        return;
      case "sync":
        this.#synced.set(operation.file, this.#content(operation.file, WHOLE));
        this.#pending.delete(operation.file);
        return;
      case "rename":
        this.#change([operation.to], (names) => renameIn(names, operation.path, operation.to));
        return;
      case "remove":
        this.#change([operation.path], (names) => removeIn(names, operation.path));
        return;
      case "syncDirectory":
        for (const change of this.#changes) if (change.folders.includes(operation.path)) change.apply(this.#names);
        this.#changes = this.#changes.filter(({ folders }) => !folders.includes(operation.path));
    }
  }

  *states(after: string): Generator<CrashState> {
    const parts = this.#pending.size === 0 ? [WHOLE] : PARTS;
    for (const part of parts) {
      for (const [which, changes] of this.#namings()) {
        const names: Names = new Map(this.#names);
        for (const change of changes) change.apply(names);
        const files = new Map([...names].map(([path, file]) => [path, this.#content(file, part)] as const));
        yield { what: `after ${after}, ${part.name} bytes, ${which} names`, files, marks: [...this.#marks] };
      }
    }
  }

  /** All changes of names that were not synced, each beginning of them, and all but each one. */
  #namings(): [string, readonly NameChange[]][] {
    const all = this.#changes;
    const beginnings = all.map((_, i) => [`the first ${i}`, all.slice(0, i)] as [string, NameChange[]]);
    const without = all.slice(0, -1).map((_, i) => [`all but #${i}`, all.toSpliced(i, 1)] as [string, NameChange[]]);
    return [["all", all], ...beginnings, ...without];
  }

  #content(file: number, part: Part): Buffer {
    let content = this.#synced.get(file) ?? Buffer.alloc(0);
    for (const operation of this.#pending.get(file) ?? []) {
      if (operation.kind === "truncate") {
        if (part !== NOTHING) content = content.subarray(0, operation.length);
      } else {
        const bytes = part.of(operation.bytes);
        const grown = Buffer.alloc(
          Math.max(content.length, bytes.length === 0 ? 0 : operation.position + bytes.length),
        );
        content.copy(grown);
        bytes.copy(grown, operation.position);
        content = grown;
      }
    }
    return content;
  }

  #change(paths: readonly string[], apply: (names: Names) => void): void {
    this.#changes.push({ folders: paths.map((path) => path.split("/").slice(0, -1).join("/")), apply });
  }
}

/** How much of what was not synced is there. */
interface Part {
  readonly name: string;
  of(bytes: Buffer): Buffer;
}

const WHOLE: Part = { name: "all", of: (bytes) => bytes };
const NOTHING: Part = { name: "no", of: () => Buffer.alloc(0) };
const PARTS: readonly Part[] = [
  WHOLE,
  NOTHING,
  { name: "half of the", of: (bytes) => bytes.subarray(0, bytes.length >> 1) },
  { name: "zero", of: (bytes) => Buffer.alloc(bytes.length) },
  { name: "the last half of the", of: (bytes) => Buffer.from(bytes).fill(0, 0, bytes.length >> 1) },
];

function renameIn(names: Names, from: string, to: string): void {
  for (const [path, file] of [...names]) {
    if (path !== from && !path.startsWith(`${from}/`)) continue;
    names.delete(path);
    names.set(to + path.slice(from.length), file);
  }
}

function removeIn(names: Names, from: string): void {
  for (const path of [...names.keys()]) if (path === from || path.startsWith(`${from}/`)) names.delete(path);
}
