/** Starts `run.sh` on this machine so that it outlives the daemon. */
import { execa } from "execa";
import type { RunLimits } from "../run-directory.ts";
import { inputName, sweepArguments, WRAPPER_FILE, wholeSeconds } from "../wrapper.ts";

export interface WrapperStart {
  /** The run directory, absolute. */
  readonly directory: string;
  readonly workdir: string;
  readonly argv: readonly [string, ...string[]];
  readonly promptOnStdin: boolean;
  readonly env: Readonly<Record<string, string>>;
  /** Until the wrapper ends the run by itself, ms. */
  readonly limitMs: number;
  /** Between TERM and KILL, ms. */
  readonly graceMs: number;
  readonly leftovers: RunLimits["leftovers"];
}

/**
 * Starts the wrapper in a session of its own, with nothing of the daemon's: it goes on when the daemon stops, however that happens.
 * `ended` resolves with its exit status once it is gone (`undefined`: a signal ended it), and rejects when it could not be started.
 */
export function startWrapper(start: WrapperStart): {
  pid: number | undefined;
  ended: Promise<number | undefined>;
} {
  const umask = process.umask().toString(8).padStart(3, "0");
  const times = [wholeSeconds(start.limitMs), wholeSeconds(start.graceMs)];
  const input = inputName(start.promptOnStdin);
  const args = [start.directory, umask, ...times, start.leftovers, input, start.workdir, ...start.argv];
  const subprocess = runScript(args, start.env);
  return {
    pid: subprocess.pid,
    ended: subprocess.then((result) => {
      if (result.exitCode === undefined && result.signal === undefined) {
        throw result.cause ?? new Error(result.shortMessage);
      }
      return result.exitCode;
    }),
  };
}

/** Ends what is left of a run whose wrapper was killed; resolves when nothing is, or nothing more can be done. */
export async function sweepRun(directory: string, mark: string, graceMs: number): Promise<void> {
  const { PATH = "/usr/bin:/bin" } = process.env;
  await runScript(sweepArguments(directory, mark, graceMs), { PATH });
}

function runScript(args: readonly string[], env: Readonly<Record<string, string>>) {
  const subprocess = execa("sh", [WRAPPER_FILE, ...args], {
    detached: true,
    cleanup: false,
    stdio: "ignore",
    buffer: false,
    reject: false,
    extendEnv: false,
    env,
  });
  // It is meant to live longer than this process; whoever follows it keeps the process alive.
  subprocess.unref();
  return subprocess;
}
