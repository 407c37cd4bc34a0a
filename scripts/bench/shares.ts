/** Who used the processors while something was measured, and so what held it back. */
import { cpus } from "node:os";
import { cpuSecondsOfAll, type Program } from "./programs.ts";
import { median } from "./sample.ts";

/** In cores: 1 is one core all the time. */
export interface Shares {
  /** How long was watched. */
  readonly seconds: number;
  /** The server's main thread, where its JavaScript runs. */
  readonly server: number;
  /** Its other threads: the disk's. */
  readonly serverOthers: number;
  /** The load generator. */
  readonly load: number;
  /** Programs that have nothing to do with the bench. */
  readonly foreign: number;
}

/** Call the function at the end of what is measured. */
export function watchShares(server: Program): () => Shares {
  const startedAt = performance.now();
  const before = server.cpu();
  const ownBefore = process.cpuUsage();
  const foreign = watchForeign();
  return () => {
    const seconds = (performance.now() - startedAt) / 1000;
    const own = process.cpuUsage(ownBefore);
    const after = server.cpu();
    const main = (after?.main ?? Number.NaN) - (before?.main ?? Number.NaN);
    const all = (after?.all ?? Number.NaN) - (before?.all ?? Number.NaN);
    return {
      seconds,
      server: main / seconds,
      serverOthers: (all - main) / seconds,
      load: (own.user + own.system) / 1e6 / seconds,
      foreign: foreign(),
    };
  };
}

/** Cores that were busy with neither the bench nor a program that it started. Call the function at the end. */
export function watchForeign(): () => number {
  const startedAt = performance.now();
  const before = foreignSeconds();
  return () => Math.max(0, (foreignSeconds() - before) / ((performance.now() - startedAt) / 1000));
}

const FULL = 0.88;

/** What a rate was held back by, in words. */
export function boundOf(all: readonly Shares[], server = "the daemon's"): string {
  const share = (of: (shares: Shares) => number) => median(all.map(of));
  const main = share((one) => one.server);
  const load = share((one) => one.load);
  const others = share((one) => one.serverOthers);
  if (Number.isNaN(main)) return `not known here; the load generator used ${percent(load)}`;
  const facts = `thread ${percent(main)}, its disk threads ${percent(others)}, load generator ${percent(load)} of a core`;
  if (main >= FULL && main >= load) return `${server} one thread (${facts})`;
  if (load >= FULL) return `the load generator (${server} ${facts})`;
  return `waiting for disk or processors (${server} ${facts})`;
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}

function foreignSeconds(): number {
  let ms = 0;
  for (const { times } of cpus()) ms += times.user + times.nice + times.sys + times.irq;
  const { user, system } = process.cpuUsage();
  return ms / 1000 - (user + system) / 1e6 - cpuSecondsOfAll();
}
