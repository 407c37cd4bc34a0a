/** Times as texts. */

const SECONDS_KEPT = 64;
/** What lately asked for seconds are in ISO 8601, up to the dot: times that are shown together share a few of them. */
const seconds = new Float64Array(SECONDS_KEPT).fill(Number.NaN);
const texts: string[] = new Array(SECONDS_KEPT).fill("");

/** ISO 8601 in UTC with milliseconds, as `Date.toISOString` has it, for whole milliseconds since the epoch. */
export function isoTime(at: number): string {
  const second = Math.floor(at / 1000);
  const slot = second & (SECONDS_KEPT - 1);
  if (seconds[slot] !== second) {
    texts[slot] = new Date(at).toISOString().slice(0, -4);
    seconds[slot] = second;
  }
  const ms = at - second * 1000;
  return `${texts[slot]}${ms < 10 ? "00" : ms < 100 ? "0" : ""}${ms}Z`;
}
