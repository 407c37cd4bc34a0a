/** When a failed task is tried again: a delay that doubles, with jitter, until its attempts are used up. */
import type { Hold } from "../task.ts";

export interface RetrySettings {
  readonly maxAttempts: number;
  readonly initialDelayMs: number;
  readonly maxDelayMs: number;
}

export type RetryVerdict = { readonly retryAt: number } | { readonly hold: Hold };

/**
 * What comes after attempt number `attempts` failed at `now`.
 * Delay: min(initial * 2^(attempts - 1), max), spread over its upper half by `random` in [0, 1) ("equal jitter"), so that tasks that
 * failed together do not come back together and none comes back at once. Never before `resetAt`, where a provider named a time.
 */
export function afterFailure(
  attempts: number,
  maxAttempts: number,
  settings: RetrySettings,
  now: number,
  random: number,
  resetAt = 0,
): RetryVerdict {
  if (attempts >= maxAttempts) {
    return {
      hold: {
        code: "ATTEMPTS_EXHAUSTED",
        message: `${attempts} of ${maxAttempts} attempts failed; release the hold to try again`,
      },
    };
  }
  // A hold released meanwhile sets `attempts` to 0; past 2^52 doublings would leave what numbers can hold.
  const doublings = Math.min(Math.max(attempts - 1, 0), 52);
  const delayMs = Math.min(settings.initialDelayMs * 2 ** doublings, settings.maxDelayMs);
  return { retryAt: Math.max(now + Math.round(delayMs / 2 + (delayMs / 2) * random), resetAt) };
}
