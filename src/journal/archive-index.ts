/**
 * Where the lines of an archive are, by the hashes of their id and group, in typed arrays: some 50 bytes a line. A hash is
 * long enough for "there is such an id" (a million ids share one with a probability of 0.00006); whoever needs the record
 * reads the line, and its id with it.
 */

/** A line's place in its file. */
export interface IndexedLine {
  readonly idHash: number;
  readonly groupHash: number;
  /** Byte offset in the file, below 4 GiB. */
  readonly offset: number;
  /** Without the newline. */
  readonly length: number;
  /** The line says that the record is no longer in the archive. */
  readonly removed: boolean;
}

/** 53 bits, an integer that a double holds: two multiplicative hashes (FNV-1a and one of another prime) over UTF-16 units. */
export function hashOf(text: string): number {
  let low = 0x811c9dc5;
  let high = 0x9747b28c;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    low = Math.imul(low ^ unit, 0x01000193);
    high = Math.imul((high ^ unit) + (high >>> 15), 0x85ebca6b);
  }
  high ^= high >>> 13;
  return (high & 0x1f_ffff) * 0x1_0000_0000 + (low >>> 0);
}

const NONE = -1;

export class ArchiveIndex {
  #count = 0;
  #file = new Uint16Array(1024);
  #offset = new Uint32Array(1024);
  #length = new Uint32Array(1024);
  #removed = new Uint8Array(1024);
  readonly #ids = new HashChains();
  readonly #groups = new HashChains();

  /** Lines are numbered from 0 in the order in which they were added, which is the order in which they were written. */
  get count(): number {
    return this.#count;
  }

  /** `file` is a number below 65,536. */
  add(line: IndexedLine, file: number): void {
    if (this.#count === this.#file.length) this.#grow();
    const n = this.#count++;
    this.#file[n] = file;
    this.#offset[n] = line.offset;
    this.#length[n] = line.length;
    this.#removed[n] = line.removed ? 1 : 0;
    this.#ids.add(n, line.idHash);
    this.#groups.add(n, line.groupHash);
  }

  fileOf(n: number): number {
    return this.#file[n] ?? 0;
  }

  line(n: number): IndexedLine {
    return {
      idHash: this.#ids.hashOf(n),
      groupHash: this.#groups.hashOf(n),
      offset: this.#offset[n] ?? 0,
      length: this.#length[n] ?? 0,
      removed: this.#removed[n] === 1,
    };
  }

  /** All lines from number `n` on. */
  linesFrom(n: number): IndexedLine[] {
    return Array.from({ length: this.#count - n }, (_, i) => this.line(n + i));
  }

  /** The lines whose id has this hash, newest first. */
  withId(hash: number): Generator<number> {
    return this.#ids.newestFirst(hash);
  }

  /** The lines whose group has this hash, newest first. */
  withGroup(hash: number): Generator<number> {
    return this.#groups.newestFirst(hash);
  }

  #grow(): void {
    const size = this.#file.length * 2;
    this.#file = grown(this.#file, new Uint16Array(size));
    this.#offset = grown(this.#offset, new Uint32Array(size));
    this.#length = grown(this.#length, new Uint32Array(size));
    this.#removed = grown(this.#removed, new Uint8Array(size));
  }
}

/** From a hash to the newest line that has it, from there to the one before. Open addressing, at most half full. */
class HashChains {
  #count = 0;
  #hash = new Float64Array(1024);
  #before = new Int32Array(1024);
  #newest = new Int32Array(2048).fill(NONE);

  add(n: number, hash: number): void {
    if (n === this.#hash.length) this.#grow();
    const slot = this.#slotOf(hash);
    this.#hash[n] = hash;
    this.#before[n] = this.#newest[slot] ?? NONE;
    this.#newest[slot] = n;
    this.#count = n + 1;
  }

  hashOf(n: number): number {
    return this.#hash[n] ?? 0;
  }

  *newestFirst(hash: number): Generator<number> {
    for (let n = this.#newest[this.#slotOf(hash)] ?? NONE; n !== NONE; n = this.#before[n] ?? NONE) yield n;
  }

  /** The slot that holds the hash, or the free one where it goes. */
  #slotOf(hash: number): number {
    const mask = this.#newest.length - 1;
    let slot = Math.imul(hash, 0x9e3779b1) & mask;
    for (;;) {
      const n = this.#newest[slot] ?? NONE;
      if (n === NONE || this.#hash[n] === hash) return slot;
      slot = (slot + 1) & mask;
    }
  }

  #grow(): void {
    const size = this.#hash.length * 2;
    this.#hash = grown(this.#hash, new Float64Array(size));
    this.#before = grown(this.#before, new Int32Array(size));
    this.#newest = new Int32Array(size * 2).fill(NONE);
    for (let n = 0; n < this.#count; n++) this.#newest[this.#slotOf(this.hashOf(n))] = n;
  }
}

function grown<A extends Uint8Array | Uint16Array | Uint32Array | Int32Array | Float64Array>(from: A, to: A): A {
  to.set(from);
  return to;
}
