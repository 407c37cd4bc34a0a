/** Lists in pages: a cursor names the last record that was shown, so that records which come and go do not shift a page. */
import { LIST_LIMIT } from "../api/common.ts";
import { invalid } from "./problems.ts";

export interface PageOf<T> {
  readonly records: readonly T[];
  readonly nextCursor: string | undefined;
}

/** What a list needs to be shown in pages. */
export interface Listing<T> {
  /** Sorted by `key`, ascending or, with `descending`, the other way round. */
  readonly records: Iterable<T>;
  readonly key: (record: T) => string;
  readonly descending?: boolean;
  readonly wanted?: (record: T) => boolean;
}

/** The records behind the cursor. It names a place, not a record: what goes or comes meanwhile shifts nothing. */
export function page<T>(
  { records, key, descending = false, wanted = () => true }: Listing<T>,
  query: { limit?: number; cursor?: string },
): PageOf<T> {
  const limit = query.limit ?? LIST_LIMIT;
  const after = query.cursor === undefined ? undefined : decode(query.cursor);
  const found: T[] = [];
  for (const record of records) {
    if (after !== undefined && (descending ? key(record) >= after : key(record) <= after)) continue;
    if (!wanted(record)) continue;
    if (found.length === limit) return { records: found, nextCursor: encode(key(found[limit - 1] as T)) };
    found.push(record);
  }
  return { records: found, nextCursor: undefined };
}

/** A number as text that sorts like the number. */
export function sortable(number: number): string {
  return String(number).padStart(16, "0");
}

function encode(key: string): string {
  return Buffer.from(key).toString("base64url");
}

function decode(cursor: string): string {
  const key = Buffer.from(cursor, "base64url").toString();
  if (key === "" || encode(key) !== cursor) throw invalid("/cursor", "is not one that this list handed out");
  return key;
}
