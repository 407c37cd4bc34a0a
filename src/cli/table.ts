/** Aligned columns that fit a width where they can. */
import type { Style, Terminal } from "./terminal.ts";
import { cutTo, oneLine, widthOf } from "./text.ts";

export interface Column<Row> {
  readonly title: string;
  readonly of: (row: Row) => string | number | null | undefined;
  readonly align?: "right";
  /** May be cut to make the table fit; the others never are. */
  readonly shrinks?: boolean;
  readonly style?: (row: Row) => Style | null;
}

export interface TableOptions<Row> {
  /** Blanks in front of every line. */
  readonly indent?: string;
  /** Lines below a row that say more about it, in full. */
  readonly details?: (row: Row) => readonly string[];
}

const GAP = "  ";
const DETAIL_INDENT = "    ";
const SHRUNK_WIDTH_MIN = 10;

/** The lines of a table, a heading first; every text in it is cleaned of what a terminal would act on. */
export function table<Row>(
  terminal: Pick<Terminal, "columns" | "paint">,
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  { indent = "", details = () => [] }: TableOptions<Row> = {},
): string {
  const cells = rows.map((row) => columns.map((column) => oneLine(String(column.of(row) ?? ""))));
  const widths = fit(columns, cells, terminal.columns - indent.length);
  const line = (texts: readonly string[], paint: (text: string, index: number) => string) => {
    const padded = columns.map((column, index) => pad(texts[index] ?? "", widths[index] ?? 0, column.align));
    return indent + padded.map(paint).join(GAP).trimEnd();
  };
  const heading = line(
    columns.map((column) => column.title),
    (text) => terminal.paint("dim", text),
  );
  const body = rows.flatMap((row, place) => [
    line(cells[place] ?? [], (text, index) => {
      const style = columns[index]?.style?.(row) ?? null;
      return style === null ? text : terminal.paint(style, text);
    }),
    ...details(row).map((text) => indent + DETAIL_INDENT + oneLine(text)),
  ]);
  return [heading, ...body].join("\n");
}

/** Each column as wide as its widest cell; then the widest of those that shrink gives way until the table fits. */
function fit<Row>(columns: readonly Column<Row>[], cells: readonly string[][], width: number): number[] {
  const widths = columns.map((column, index) =>
    Math.max(widthOf(column.title), ...cells.map((row) => widthOf(row[index] ?? ""))),
  );
  let surplus = widths.reduce((sum, each) => sum + each, 0) + GAP.length * (columns.length - 1) - width;
  while (surplus > 0) {
    let widest = -1;
    columns.forEach((column, index) => {
      const room = widths[index] ?? 0;
      if (column.shrinks && room > SHRUNK_WIDTH_MIN && room > (widths[widest] ?? 0)) widest = index;
    });
    if (widest < 0) break;
    widths[widest] = (widths[widest] ?? 0) - 1;
    surplus--;
  }
  return widths;
}

function pad(text: string, width: number, align: "right" | undefined): string {
  const cut = cutTo(text, width);
  const blanks = " ".repeat(Math.max(0, width - widthOf(cut)));
  return align === "right" ? blanks + cut : cut + blanks;
}
