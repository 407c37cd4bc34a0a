/** Each operation of the disk fails, once or from then on: whatever was acknowledged is found by the next daemon. */
import t from "tap";
import { live, readBack } from "./life.ts";
import { hastyDisk, systemError, watchedDisk } from "./support.ts";

const EVENTS = 7;

for (const lasting of [false, true]) {
  t.test(lasting ? "a disk that fails from some operation on" : "a disk that fails once", async (t) => {
    let failed = true;
    for (let nth = 1; failed; nth++) {
      const directory = t.testdir();
      failed = false;
      let count = 0;
      let at = "no fault";
      const disk = watchedDisk((operation, path) => {
        count++;
        if (count !== nth && !(lasting && count > nth)) return;
        if (!failed) at = `operation ${nth}, ${operation} ${path.slice(directory.length + 1)}`;
        failed = true;
        throw systemError("EIO");
      }, hastyDisk);
      const promised = await live(directory, disk, { events: EVENTS });
      const found = await readBack(directory);
      t.strictSame(found.agents.slice(0, promised.agents.length), promised.agents, `events, ${at}`);
      t.strictSame(
        promised.archived.filter((id) => !found.archived.has(id)),
        [],
        `archive, ${at}`,
      );
      if (!failed)
        t.strictSame([promised.agents.length, promised.archived.length], [EVENTS, 3], "all is done without a fault");
    }
  });
}
