/** What every measure is given, and how rounds take turns. */
import type { Round } from "./load.ts";
import type { Program } from "./programs.ts";
import type { Row, Target } from "./row.ts";
import { median, sampleOf } from "./sample.ts";
import { boundOf } from "./shares.ts";

export interface Workbench {
  /** How long a round of load lasts. */
  readonly seconds: number;
  /** A path of the measure's own, removed at the end. */
  readonly directory: (part: string) => string;
  readonly say: (line: string) => void;
}

export type Measure = (workbench: Workbench) => Promise<readonly Row[]>;

export const ROUNDS = 5;

/** Rounds that are not measured: a daemon runs for months, and only after some seconds of load is all of it compiled. */
export const WARM_UPS = 3;

/** Every side's unmeasured rounds. */
export async function warmUp<Side extends string>(
  turns: Readonly<Record<Side, () => Promise<Round>>>,
): Promise<Record<Side, Round[]>> {
  const names = Object.keys(turns) as Side[];
  const rounds = Object.fromEntries(names.map((name) => [name, [] as Round[]])) as Record<Side, Round[]>;
  for (let i = 0; i < WARM_UPS; i++) for (const name of names) rounds[name].push(await turns[name]());
  return rounds;
}

/**
 * Lets all sides have their turn, round after round, every second time in the opposite order. A program whose turn it is not
 * stands still: what it puts off (writing state files, archiving) costs nobody else, and waits for its own next turn.
 */
export async function takeTurns<Side extends string>(
  count: number,
  sides: Readonly<Record<Side, { readonly program: Program; readonly turn: () => Promise<Round> }>>,
): Promise<Record<Side, Round[]>> {
  const names = Object.keys(sides) as Side[];
  const rounds = Object.fromEntries(names.map((name) => [name, [] as Round[]])) as Record<Side, Round[]>;
  const programs = new Set(names.map((name) => sides[name].program));
  for (const program of programs) program.pause();
  for (let i = 0; i < count; i++) {
    for (const name of i % 2 === 0 ? names : names.toReversed()) {
      const { program, turn } = sides[name];
      program.resume();
      rounds[name].push(await turn());
      program.pause();
    }
  }
  for (const program of programs) program.resume();
  return rounds;
}

export interface Compared {
  readonly measure: string;
  readonly rounds: readonly Round[];
  readonly reference: readonly Round[];
  /** What the reference is. */
  readonly what: string;
  readonly target: Target | null;
}

/** A row of two rates. */
export function compared({ measure, rounds, reference, what, target }: Compared): Row {
  return {
    measure,
    unit: "/s",
    figure: sampleOf(rounds.map((round) => round.rate)),
    reference: { ...sampleOf(reference.map((round) => round.rate)), what },
    ratio: sampleOf(rounds.map((round, i) => round.rate / (reference[i]?.rate ?? Number.NaN))),
    target,
    boundedBy: `${boundOf(rounds.map((round) => round.shares))}; ${costOf(rounds, reference)}`,
    others: median(rounds.map((round) => round.shares.foreign)),
  };
}

/** What each answer costs the server, which other programs of the machine change less than they change rates. */
export function costOf(rounds: readonly Round[], reference: readonly Round[]): string {
  const us = (all: readonly Round[]) => Math.round(median(all.map((round) => round.serverUs)));
  return `${us(rounds)} µs of its thread for each, the reference ${us(reference)} µs`;
}

export function total(rounds: readonly Round[]): number {
  return rounds.reduce((sum, round) => sum + round.answers, 0);
}
