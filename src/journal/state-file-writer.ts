/**
 * Writes one state file again and again. Records are never changed, only replaced: the text of one that is still the same
 * object is kept, and only the others are serialised. The file goes out in pieces, so that the event loop is never held up for
 * longer than one piece takes.
 */
import { join } from "node:path";
import { type Disk, realDisk } from "./disk.ts";
import { bytesMax, type KeptText, Output, PiecePool } from "./pieces.ts";
import { CHECKSUM_INDENT, stateFileEnding, stateFileOpening } from "./state-file.ts";

/** Records of one list of a state file. */
export interface RecordList<R extends object = object> {
  /** In the order of the file. Not changed while the file is written: hand over a copy. */
  readonly records: readonly R[];
  /** What tells a record from all others of the list. */
  key(record: R): string;
  /** What the file holds of it. Called once for each record object. */
  encode(record: R): object;
}

/** A store's state at one moment. */
export interface StateSnapshot {
  readonly seq: number;
  /** Written anew every time, in one piece: small things. */
  readonly fields: Readonly<Record<string, unknown>>;
  /** Written after the fields. */
  readonly lists: Readonly<Record<string, RecordList>>;
}

export interface StateFileWriterOptions {
  /** The data directory. */
  readonly directory: string;
  /** Of the file, such as `tasks.json`. */
  readonly name: string;
  readonly dataId: string;
  /** Bytes between two turns of the event loop: about 1 ms of serialising. Default 64 KiB. */
  readonly pieceBytes?: number;
  /** Milliseconds from any start. */
  readonly monotonic?: () => number;
  readonly disk?: Disk;
}

export interface Written {
  readonly bytes: number;
  /** How long the event loop was held, in ms, all pieces together. */
  readonly busyMs: number;
  /** Records that had to be serialised. */
  readonly serialised: number;
}

interface KeptRecord {
  readonly record: object;
  text: KeptText;
  /** The write that last needed it. */
  write: number;
}

export class StateFileWriter {
  readonly name: string;
  readonly #options: StateFileWriterOptions;
  readonly #disk: Disk;
  readonly #pool: PiecePool;
  readonly #lists = new Map<string, Map<string, KeptRecord>>();
  #writes = 0;

  constructor(options: StateFileWriterOptions) {
    this.name = options.name;
    this.#options = options;
    this.#disk = options.disk ?? realDisk;
    this.#pool = new PiecePool(options.pieceBytes ?? 64 * 1024);
  }

  /**
   * Replaces the file; one write at a time. It takes the place of the old one only once `committed` resolves: a state file
   * is never ahead of the journal. Rejects, with the old file in place, when that does or the disk fails.
   */
  async write(snapshot: StateSnapshot, committed: Promise<void> = Promise.resolve()): Promise<Written> {
    const { directory, monotonic = () => performance.now() } = this.#options;
    // It is awaited at the end: until then a rejection is nobody's fault.
    committed.catch(() => {});
    this.#writes++;
    let written: Written = { bytes: 0, busyMs: 0, serialised: 0 };
    await this.#disk.replace(join(directory, this.name), async (sink) => {
      const out = new Output(sink, this.#pool, monotonic);
      try {
        const serialised = await this.#putAll(out, snapshot);
        written = { bytes: out.bytes, busyMs: out.busyMs, serialised };
      } finally {
        out.end();
      }
      await committed;
    });
    return written;
  }

  async #putAll(out: Output, { seq, fields, lists }: StateSnapshot): Promise<number> {
    let serialised = 0;
    await put(out, stateFileOpening(this.#options.dataId, seq));
    for (const [field, value] of Object.entries(fields)) {
      const text = JSON.stringify({ [field]: value }, null, 2);
      if (text !== "{}") await put(out, `${text.slice(2, -2)},\n`);
    }
    for (const [field, list] of Object.entries(lists)) serialised += await this.#putList(out, field, list);
    await put(out, CHECKSUM_INDENT);
    await out.send();
    await put(out, stateFileEnding(out.crc));
    await out.send();
    return serialised;
  }

  async #putList(out: Output, field: string, list: RecordList): Promise<number> {
    const kept = this.#lists.get(field) ?? new Map<string, KeptRecord>();
    this.#lists.set(field, kept);
    let serialised = 0;
    let before = `  ${JSON.stringify(field)}: [\n`;
    for (const record of list.records) {
      const key = list.key(record);
      const known = kept.get(key);
      if (known?.record === record) {
        const needed = bytesMax(before) + known.text.end - known.text.start;
        if (!out.hasRoom(needed)) await out.makeRoom(needed);
        out.put(before);
        known.text = out.putAgain(known.text);
        known.write = this.#writes;
      } else {
        const text = textOf(list.encode(record));
        const needed = bytesMax(before) + bytesMax(text);
        if (!out.hasRoom(needed)) await out.makeRoom(needed);
        out.put(before);
        kept.set(key, { record, text: out.keep(out.put(text)), write: this.#writes });
        if (known !== undefined) this.#pool.release(known.text.piece);
        serialised++;
      }
      before = ",\n";
    }
    await put(out, list.records.length === 0 ? `  ${JSON.stringify(field)}: [],\n` : "\n  ],\n");
    if (kept.size > list.records.length) this.#forget(kept);
    return serialised;
  }

  /** Drops the texts of records that are no longer there. */
  #forget(kept: Map<string, KeptRecord>): void {
    for (const [key, { write, text }] of kept) {
      if (write === this.#writes) continue;
      kept.delete(key);
      this.#pool.release(text.piece);
    }
  }
}

async function put(out: Output, text: string): Promise<void> {
  if (!out.hasRoom(bytesMax(text))) await out.makeRoom(bytesMax(text));
  out.put(text);
}

/** A record as an element of a list that is a field: indented by four. */
function textOf(record: object): string {
  return JSON.stringify([[record]], null, 2).slice("[\n  [\n".length, -"\n  ]\n]".length);
}
