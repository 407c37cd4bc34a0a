/** What a gateway's version means for the arguments of `sessions_spawn`. */

/** Of a year and a month, as OpenClaw counts. */
type Version = readonly [year: number, month: number];

/**
 * Since when all of `runTimeoutSeconds`, `expectsCompletionMessage` and `cwd` are taken: the first was refused with an error in June and
 * July of 2026, and 2026.9.6 was seen to take all three. Before, and where the version is not known, only what every version takes is sent.
 */
const MORE_ARGUMENTS: Version = [2026, 8];

/** From "2026.9", or from a text that has it, such as session_status: "🦞 OpenClaw 2026.9.6 (eb377ac)". `null` where there is none. */
export function parseVersion(text: string): string | null {
  return /(?:^|OpenClaw\s+v?)([0-9]{4}\.[0-9]{1,2}(?:\.[0-9]{1,3})?)/.exec(text)?.[1] ?? null;
}

/** True when the gateway takes more than `{task, label, mode, cleanup}`, `agentId` and `model`. */
export function takesMoreArguments(version: string | null): boolean {
  const [year = 0, month = 0] = version?.split(".").map(Number) ?? [];
  const [sinceYear, sinceMonth] = MORE_ARGUMENTS;
  return year > sinceYear || (year === sinceYear && month >= sinceMonth);
}
