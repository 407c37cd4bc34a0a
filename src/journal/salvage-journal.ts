/** Reads what is left of a journal that may be damaged anywhere, and says what is not. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { StoredEvent } from "../core/event.ts";
import { DamagedData } from "./damage.ts";
import { checkFileJournal } from "./file-journal.ts";
import { salvageLines } from "./frame.ts";
import { FRAME_OPENING } from "./newest-segment.ts";
import { decodeSegmentLine, isFrame, listAllSegments, type PlacedSegment, readSegmentOf } from "./segment.ts";

/** A range of `seq`, both ends included; `null`: nobody knows how many more there were. */
export interface SeqRange {
  readonly fromSeq: number;
  readonly toSeq: number | null;
}

interface Place {
  readonly directory: string;
  readonly dataId: string;
}

/** What a start would object to now or later, anywhere in the journal and its archive; `undefined`: nothing. */
export async function findJournalDamage(
  place: Place,
  states: { readonly replayFrom: number; readonly stateSeq: number },
): Promise<DamagedData | undefined> {
  try {
    const newestSeq = await checkFileJournal({ ...place, ...states });
    let next = (await listAllSegments(place.directory))[0]?.firstSeq ?? newestSeq + 1;
    while (next <= newestSeq) {
      for await (const frames of readSegmentOf(next, { ...place, newestSeq })) {
        for (const { seq, events } of frames) next = Math.max(next, seq + events.length);
      }
    }
    return undefined;
  } catch (error) {
    if (error instanceof DamagedData) return error;
    throw error;
  }
}

/** The ids of the data directories that the segments say they belong to. */
export async function dataIdsOfSegments(directory: string): Promise<string[]> {
  const ids: string[] = [];
  for (const segment of await listAllSegments(directory)) {
    const { dataId } = await salvageSegment(directory, segment);
    if (dataId !== undefined) ids.push(dataId);
  }
  return ids;
}

/** All events that can still be read, in order, and what is missing between them. */
export class SalvagedEvents {
  readonly #place: Place;
  readonly #gaps: SeqRange[] = [];
  #nextSeq: number;

  constructor(place: Place, fromSeq: number) {
    this.#place = place;
    this.#nextSeq = fromSeq;
  }

  /** The newest event that was read, once all were. */
  get lastSeq(): number {
    return this.#nextSeq - 1;
  }

  /** Missing between events that are there, and at the end where what follows the last one cannot be read. */
  get gaps(): readonly SeqRange[] {
    return this.#gaps;
  }

  async *read(): AsyncGenerator<StoredEvent> {
    const { directory, dataId } = this.#place;
    const segments = await listAllSegments(directory);
    for (const [i, segment] of segments.entries()) {
      const endSeq = segments[i + 1]?.firstSeq ?? Number.POSITIVE_INFINITY;
      if (endSeq <= this.#nextSeq) continue;
      const salvaged = await salvageSegment(directory, segment);
      if (salvaged.dataId !== undefined && salvaged.dataId !== dataId) continue;
      for (const stored of salvaged.events) {
        if (stored.seq < this.#nextSeq || stored.seq >= endSeq) continue;
        if (stored.seq > this.#nextSeq) this.#gaps.push({ fromSeq: this.#nextSeq, toSeq: stored.seq - 1 });
        this.#nextSeq = stored.seq + 1;
        yield stored;
      }
      if (endSeq === Number.POSITIVE_INFINITY && salvaged.endsLost)
        this.#gaps.push({ fromSeq: this.#nextSeq, toSeq: null });
    }
  }
}

async function salvageSegment(
  directory: string,
  { folder, name }: PlacedSegment,
): Promise<{ dataId: string | undefined; events: StoredEvent[]; endsLost: boolean }> {
  const { lines, endsLost } = salvageLines(await readFile(join(directory, folder, name)), FRAME_OPENING);
  const events: StoredEvent[] = [];
  let dataId: string | undefined;
  for (const bytes of lines) {
    const line = decodeSegmentLine(bytes);
    if (line === undefined) continue;
    if (!isFrame(line)) dataId ??= line.dataId;
    else for (const [i, event] of line.events.entries()) events.push({ seq: line.seq + i, event });
  }
  return { dataId, events, endsLost };
}
