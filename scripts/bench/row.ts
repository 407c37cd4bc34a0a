/** One line of the table: a figure, what it is held against, and what it should reach. */
import type { Sample } from "./sample.ts";

export type Unit = "/s" | "ms" | "MB" | "%";

export interface Target {
  /** The figure itself, the figure divided by the reference, or the figure less the reference. */
  readonly of: "figure" | "ratio" | "difference";
  readonly at: "least" | "most";
  readonly value: number;
}

export interface Row {
  readonly measure: string;
  readonly unit: Unit;
  readonly figure: Sample;
  readonly reference: (Sample & { readonly what: string }) | null;
  /** Round by round, the figure divided by the reference. */
  readonly ratio: Sample | null;
  /** `null`: only reported. */
  readonly target: Target | null;
  readonly boundedBy: string;
  /** Cores that other programs of the machine used meanwhile: noise. */
  readonly others: number;
}

/** `null`: there is nothing to reach. */
export function isReached({ figure, reference, ratio, target }: Row): boolean | null {
  if (target === null) return null;
  const values = {
    figure: figure.median,
    ratio: ratio?.median ?? Number.NaN,
    difference: figure.median - (reference?.median ?? Number.NaN),
  };
  const value = values[target.of];
  return target.at === "least" ? value >= target.value : value <= target.value;
}
