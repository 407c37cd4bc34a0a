/** Records as the data files hold them: the core's own shape, with times readable. Reading gives back exactly what was written. */

const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

/** A copy in which every number under a key that ends in `At` is an ISO 8601 time. */
export function toRecord(value: object): Record<string, unknown> {
  return convert(value, (time) => (typeof time === "number" ? new Date(time).toISOString() : time)) as Record<
    string,
    unknown
  >;
}

/** The reverse of `toRecord`. The caller names the type that was written. */
export function fromRecord<T>(value: unknown): T {
  return convert(value, (time) => (typeof time === "string" && ISO.test(time) ? Date.parse(time) : time)) as T;
}

function convert(value: unknown, time: (at: unknown) => unknown): unknown {
  if (Array.isArray(value)) return value.map((item) => convert(item, time));
  if (typeof value !== "object" || value === null) return value;
  const copy: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value)) {
    copy[key] = key.endsWith("At") ? time(item) : typeof item === "object" ? convert(item, time) : item;
  }
  return copy;
}
