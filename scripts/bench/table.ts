/** The rows as text, in columns. */
import { isReached, type Row, type Target, type Unit } from "./row.ts";
import type { Sample } from "./sample.ts";

const COLUMNS = ["measure", "figure", "reference", "ratio", "target", "", "others", "bounded by"] as const;

export function table(rows: readonly Row[]): string {
  const lines = [COLUMNS, ...rows.map(cellsOf)];
  const widths = COLUMNS.map((_, column) => Math.max(...lines.map((cells) => (cells[column] ?? "").length)));
  const text = (cells: readonly string[]) =>
    cells
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join("  ")
      .trimEnd();
  const rule = widths.map((width) => "-".repeat(width)).join("  ");
  return [text(COLUMNS), rule, ...lines.slice(1).map(text)].join("\n");
}

function cellsOf(row: Row): readonly string[] {
  const { measure, unit, figure, reference, target, boundedBy } = row;
  const reached = isReached(row);
  return [
    measure,
    withSpread(figure, unit),
    reference === null ? "" : `${number(reference.median, unit)} ${unit} ${reference.what}`,
    ratioText(row),
    target === null ? "" : targetText(target, unit),
    reached === null ? "" : reached ? "ok" : "short",
    row.others.toFixed(1),
    boundedBy,
  ];
}

function ratioText({ unit, figure, reference, ratio, target }: Row): string {
  if (target?.of === "difference" && reference !== null) {
    const difference = figure.median - reference.median;
    return `${difference < 0 ? "" : "+"}${number(difference, unit)} ${unit}`;
  }
  return ratio === null ? "" : `${ratio.median.toFixed(2)} (${ratio.min.toFixed(2)}..${ratio.max.toFixed(2)})`;
}

function targetText({ of, at, value }: Target, unit: Unit): string {
  const sign = at === "least" ? ">=" : "<=";
  if (of === "ratio") return `${sign} ${value.toFixed(2)}`;
  return `${sign} ${of === "difference" ? "+" : ""}${number(value, unit)} ${unit}`;
}

function withSpread({ median, min, max }: Sample, unit: Unit): string {
  return `${number(median, unit)} ${unit} (${number(min, unit)}..${number(max, unit)})`;
}

function number(value: number, unit: Unit): string {
  const digits = unit === "/s" || Math.abs(value) >= 1000 ? 0 : Math.abs(value) < 10 ? 2 : 1;
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}
