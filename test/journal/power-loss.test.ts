/** Whatever a power cut may leave of a small daemon's life, the next daemon starts and finds all that was promised. */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import t from "tap";
import { live, type Promised, readBack } from "./life.ts";
import { RecordingDisk } from "./recording-disk.ts";

t.test("every state that may be left starts, with all that was promised", async (t) => {
  const directory = t.testdir();
  const disk = new RecordingDisk(directory);
  const onPromise = ({ agents, archived }: Promised): void =>
    disk.mark({ agents: [...agents], archived: [...archived] });
  await live(directory, disk, { events: 12, onPromise });
  const seen = new Set<string>();
  let states = 0;
  for (const { what, files, marks } of disk.crashStates()) {
    const promised = (marks.at(-1) ?? { agents: [], archived: [] }) as Promised;
    const state = JSON.stringify([
      promised,
      ...[...files].sort().map(([path, bytes]) => [path, bytes.toString("latin1")]),
    ]);
    if (seen.has(state)) continue;
    seen.add(state);
    states++;
    const copy = join(directory, "copy");
    rmSync(copy, { recursive: true, force: true });
    for (const folder of ["journal", "archive/journal", "archive/base"])
      mkdirSync(join(copy, folder), { recursive: true });
    for (const [path, bytes] of files) {
      mkdirSync(dirname(join(copy, path)), { recursive: true });
      writeFileSync(join(copy, path), bytes);
    }
    const found = await readBack(copy).catch((error: unknown) => error);
    if (found instanceof Error) t.fail(`${what}: ${found.message}`);
    else {
      const { agents, archived } = found as Awaited<ReturnType<typeof readBack>>;
      const lost = promised.archived.filter((id) => !archived.has(id));
      const same = agents.slice(0, promised.agents.length).join() === promised.agents.join();
      if (!same || lost.length > 0) t.fail(`${what}: lost`, { promised, agents, archived: [...archived] });
    }
  }
  t.comment(`${states} states`);
  t.ok(states > 150, "there were many");
});
