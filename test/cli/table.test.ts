import t from "tap";
import { table } from "../../src/cli/table.ts";
import { widthOf } from "../../src/cli/text.ts";

const paint = (_style: string, text: string) => text;

t.test("columns are aligned, numbers to the right", async (t) => {
  const text = table(
    { columns: 80, paint },
    [
      { title: "NAME", of: ({ name }) => name },
      { title: "N", of: ({ n }) => n, align: "right" },
    ],
    [
      { name: "漢", n: 5 },
      { name: "longer", n: 12 },
    ],
    { indent: " ", details: ({ n }) => (n > 10 ? ["more\nthan ten"] : []) },
  );
  t.same(text.split("\n"), [" NAME     N", " 漢       5", " longer  12", "     more than ten"]);
});

t.test("what may shrink gives way, what may not is whole", async (t) => {
  const rows = [{ id: "x".repeat(30), title: "t".repeat(60), note: "n".repeat(20) }];
  const draw = (columns: number) =>
    table(
      { columns, paint },
      [
        { title: "ID", of: ({ id }) => id },
        { title: "TITLE", of: ({ title }) => title, shrinks: true },
        { title: "NOTE", of: ({ note }) => note, shrinks: true },
      ],
      rows,
    );
  for (const columns of [60, 70, 80, 100])
    t.ok(
      draw(columns)
        .split("\n")
        .every((line) => widthOf(line) <= columns),
      String(columns),
    );
  t.match(draw(40), "x".repeat(30), "an id is never cut, not even where there is no room");
  t.notMatch(draw(200), "…");
});
