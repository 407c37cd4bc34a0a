/** Many lives one after the other, and what is left of one that broke a rule once all is left out that it can do without. */
import { BrokenRule, Simulation } from "./simulation.ts";

/** Long enough for a task to fail, be tried again and be archived; short enough to be understood. */
const STEPS_OF_LIFE = 250;

/** What happens in a life: the step of this number, or a death after it. */
export interface Happening {
  readonly step: number;
  readonly dies?: true;
}

export interface Life {
  readonly seed: number;
  readonly happenings: readonly Happening[];
}

export interface Failure {
  readonly life: Life;
  readonly broken: BrokenRule;
  /** So many of the life's happenings took place; `atRest`: all of them, and the end did not come. */
  readonly taken: number;
  readonly atRest: boolean;
}

/** How often what happened. */
export type Counts = Readonly<Record<string, number>>;

export interface Explored {
  readonly counts: Counts;
  readonly failure: Failure | null;
}

/** So many steps in lives of 250, with the seeds `seed`, `seed + 1`, ... */
export function* lives(seed: number, steps: number): Generator<Life> {
  for (let at = 0; at < steps; at += STEPS_OF_LIFE) {
    const happenings = Array.from({ length: Math.min(STEPS_OF_LIFE, steps - at) }, (_, step) => ({ step }));
    yield { seed: seed + at / STEPS_OF_LIFE, happenings };
  }
}

/** One life whose process dies after a certain step, too. */
export function lifeWithDeath(seed: number, steps: number, dieAfter: number): Life {
  const happenings = Array.from({ length: steps }, (_, step): Happening[] =>
    step === dieAfter ? [{ step }, { step, dies: true }] : [{ step }],
  );
  return { seed, happenings: happenings.flat() };
}

/** Lives them all until a rule breaks. */
export async function explore(all: Iterable<Life>, onLife: (counts: Counts) => void = () => {}): Promise<Explored> {
  const counts: Record<string, number> = { lives: 0 };
  for (const life of all) {
    const { told, failure } = await liveThrough(life);
    for (const [what, count] of Object.entries(told)) counts[what] = (counts[what] ?? 0) + count;
    counts.lives = (counts.lives ?? 0) + 1;
    onLife(counts);
    if (failure !== null) return { counts, failure };
  }
  return { counts, failure: null };
}

async function liveThrough(life: Life, { toRest = true } = {}): Promise<{ told: Counts; failure: Failure | null }> {
  const simulation = new Simulation(life.seed);
  // Nobody else would say in which life it happened.
  const unheard = (error: unknown) => simulation.unheard(error);
  process.on("unhandledRejection", unheard);
  let taken = 0;
  try {
    for (const { step, dies } of life.happenings) {
      taken++;
      await (dies === true ? simulation.die(step) : simulation.take(step));
    }
    taken++;
    return { told: toRest ? await simulation.rest() : simulation.told, failure: null };
  } catch (error) {
    if (!(error instanceof BrokenRule)) throw error;
    const atRest = taken > life.happenings.length;
    return { told: simulation.told, failure: { life, broken: error, taken: atRest ? taken - 1 : taken, atRest } };
  } finally {
    process.off("unhandledRejection", unheard);
  }
}

export interface Shrunk {
  readonly failure: Failure;
  readonly tries: number;
  /** Nothing more can be left out one by one; `false`: the time was up before. */
  readonly isLeast: boolean;
}

/**
 * Leaves out as much of a failed life as can be while the same rule breaks: great pieces first, then ever smaller ones, over
 * again until no single happening can be spared.
 */
export async function shrink(failure: Failure, limitMs: number): Promise<Shrunk> {
  const until = performance.now() + limitMs;
  let best = failure;
  let tries = 0;
  const left = () => best.life.happenings.slice(0, best.taken);
  const isGone = async (from: number, to: number): Promise<boolean> => {
    tries++;
    const happenings = left().toSpliced(from, to - from);
    const tried = await liveThrough({ ...best.life, happenings }, { toRest: best.atRest });
    if (tried.failure?.broken.rule !== best.broken.rule) return false;
    best = tried.failure;
    return true;
  };
  for (let size = Math.ceil(best.taken / 2); ; size = Math.ceil(size / 2)) {
    let spared = false;
    // From the end: what comes later depends on what came before.
    for (let to = best.taken; to > 0; to = Math.min(to - size, best.taken)) {
      if (performance.now() > until) return { failure: best, tries, isLeast: false };
      spared = (await isGone(Math.max(0, to - size), to)) || spared;
    }
    if (size <= 1 && !spared) return { failure: best, tries, isLeast: true };
  }
}

/** How to live it again. */
export function commandFor({ life, taken }: Failure): string {
  const { seed, happenings } = life;
  const death = happenings.find(({ dies }) => dies);
  const steps = happenings.slice(0, taken).filter(({ dies }) => !dies).length;
  const dieAfter = death === undefined ? "" : ` --die-after ${death.step}`;
  return `npm run simulate -- --seed ${seed} --steps ${steps}${dieAfter}`;
}

/** What broke, what is left of the life that broke it, and how to live it again: `whole` is as it was found. */
export function storyOf(whole: Failure, { failure, tries, isLeast }: Shrunk): string {
  const { broken, taken } = failure;
  return [
    `seed ${whole.life.seed}, after ${whole.taken} steps${whole.atRest ? " and a rest" : ""}: ${whole.broken.rule}`,
    `${taken} of these steps are enough (${tries} tries${isLeast ? "" : ", then the time was up"}):`,
    "",
    broken.message,
    "",
    ...broken.history.map((line) => `  ${line}`),
    "",
    commandFor(whole),
  ].join("\n");
}
