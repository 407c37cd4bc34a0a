/**
 * The text of a file as it was last written, in pieces of memory outside the JavaScript heap. While the next version is put
 * together from what did not change and what did, pieces of the old one fall free and serve for the new one: there are
 * never two copies, and nothing for the garbage collector.
 */
import { crc32 } from "node:zlib";
import type { Sink } from "./disk.ts";

const FREE_MAX = 16;

interface Piece {
  readonly bytes: Buffer;
  used: number;
  /** What still needs it: kept texts, and an output while it fills it. */
  holders: number;
}

/** A text that is kept for the next write. */
export interface KeptText {
  readonly piece: Piece;
  readonly start: number;
  readonly end: number;
}

export class PiecePool {
  readonly #pieceBytes: number;
  readonly #free: Piece[] = [];

  constructor(pieceBytes: number) {
    this.#pieceBytes = pieceBytes;
  }

  /** A piece of the usual size, or of `bytes` where that is not enough. */
  take(bytes: number): Piece {
    const free = bytes <= this.#pieceBytes ? this.#free.pop() : undefined;
    const piece = free ?? {
      bytes: Buffer.allocUnsafeSlow(Math.max(bytes, this.#pieceBytes)),
      used: 0,
      holders: 0,
    };
    piece.used = 0;
    piece.holders = 1;
    return piece;
  }

  release(piece: Piece): void {
    piece.holders--;
    const usual = piece.bytes.length === this.#pieceBytes;
    if (piece.holders === 0 && usual && this.#free.length < FREE_MAX) this.#free.push(piece);
  }
}

/** One version of the file on its way to the disk. Whoever put something waits for `ready` before the next. */
export class Output {
  readonly #sink: Sink;
  readonly #pool: PiecePool;
  readonly #monotonic: () => number;
  #piece: Piece;
  #busySince: number;
  crc = 0;
  bytes = 0;
  /** How long the event loop was held, in ms. */
  busyMs = 0;

  constructor(sink: Sink, pool: PiecePool, monotonic: () => number) {
    this.#sink = sink;
    this.#pool = pool;
    this.#monotonic = monotonic;
    this.#piece = pool.take(0);
    this.#busySince = monotonic();
  }

  /** True when this many bytes can be put at once; else `makeRoom` first. */
  hasRoom(bytes: number): boolean {
    return this.#piece.used + bytes <= this.#piece.bytes.length;
  }

  /** Sends what there is. While it waits for the disk, everything else has its turn. */
  async makeRoom(bytes: number): Promise<void> {
    if (this.hasRoom(bytes)) return;
    await this.send();
    if (this.hasRoom(bytes)) return;
    this.#pool.release(this.#piece);
    this.#piece = this.#pool.take(bytes);
  }

  /** Needs room for `bytesMax(text)`. */
  put(text: string): KeptText {
    const piece = this.#piece;
    const start = piece.used;
    piece.used += piece.bytes.write(text, start, "utf8");
    return { piece, start, end: piece.used };
  }

  /** Puts a kept text again, which is held here from now on and no longer where it was. Needs room for its bytes. */
  putAgain({ piece: old, start: from, end: to }: KeptText): KeptText {
    const piece = this.#piece;
    const start = piece.used;
    piece.used += old.bytes.copy(piece.bytes, start, from, to);
    const kept = this.keep({ piece, start, end: piece.used });
    this.#pool.release(old);
    return kept;
  }

  keep(text: KeptText): KeptText {
    text.piece.holders++;
    return text;
  }

  async send(): Promise<void> {
    const { bytes, used } = this.#piece;
    const full = bytes.subarray(0, used);
    this.crc = crc32(full, this.crc);
    this.bytes += used;
    this.busyMs += this.#monotonic() - this.#busySince;
    await this.#sink(full);
    this.#busySince = this.#monotonic();
    this.#pool.release(this.#piece);
    this.#piece = this.#pool.take(0);
  }

  /** Lets go of the memory that is not kept. */
  end(): void {
    this.#pool.release(this.#piece);
  }
}

/** The most bytes that a text can take: three for a UTF-16 unit, exactly counted where it is long. */
export function bytesMax(text: string): number {
  return text.length < 16 * 1024 ? text.length * 3 : Buffer.byteLength(text);
}
