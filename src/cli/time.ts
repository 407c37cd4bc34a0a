/** Times and durations as people read and write them. */
import { InvalidArgumentError } from "commander";

const UNITS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** `45 s`, `12 min`, `3.5 h`: about how long. */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  if (ms < 99_500) return `${Math.round(ms / UNITS.s)} s`;
  if (ms < 99.5 * UNITS.m) return `${Math.round(ms / UNITS.m)} min`;
  if (ms < 48 * UNITS.h) return `${(ms / UNITS.h).toFixed(1).replace(/\.0$/, "")} h`;
  return `${Math.round(ms / UNITS.d)} d`;
}

/** How long ago an ISO 8601 time was. */
export function since(time: string, now: number): string {
  return duration(now - Date.parse(time));
}

/** `90s`, `30m`, `2h`, `1d`, or a number of milliseconds → milliseconds, for an option. */
export function parseDuration(text: string): number {
  const [, digits, unit] = /^(\d{1,12}(?:\.\d{1,3})?)(ms|s|m|h|d)?$/.exec(text) ?? [];
  if (digits === undefined) throw new InvalidArgumentError("Wanted a duration such as 90s, 30m, 2h, or milliseconds.");
  return Math.round(Number(digits) * (unit === undefined ? 1 : UNITS[unit as keyof typeof UNITS]));
}

/** A day of the calendar or a time in UTC, as it is written, for an option. */
export function parseDate(text: string): string {
  const time = /^\d{4}-\d\d-\d\d(?:T\d\d:\d\d:\d\d(?:\.\d{1,3})?Z)?$/.test(text) ? Date.parse(text) : Number.NaN;
  // Date.parse takes the 30th of February for the 2nd of March.
  if (!Number.isNaN(time) && new Date(time).toISOString().slice(0, 10) === text.slice(0, 10)) return text;
  throw new InvalidArgumentError("Wanted a date such as 2026-12-31 or 2026-12-31T12:00:00Z.");
}

/** A whole number of at least one, for an option. */
export function parseCount(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError("Wanted a whole number of at least 1.");
  return Number(text);
}
