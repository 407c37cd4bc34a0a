/** A small daemon's life on a disk, and what the next daemon finds there. */
import { join } from "node:path";
import { StorageUnavailable } from "../../src/dispatcher/ports.ts";
import { type Archive, openArchive } from "../../src/journal/archive.ts";
import { Checkpoint } from "../../src/journal/checkpoint.ts";
import type { Disk } from "../../src/journal/disk.ts";
import { type FileJournal, openFileJournal } from "../../src/journal/file-journal.ts";
import { readStateFile } from "../../src/journal/state-file.ts";
import { DATA_ID, event, hastyDisk, journalOptions, TestClock, TestLog } from "./support.ts";

const STORES = ["tasks.json", "locks.json"] as const;

interface Item {
  readonly id: string;
}

/** What was promised to be on disk: the agent of each event in order, and ids of archived records. */
export interface Promised {
  readonly agents: string[];
  readonly archived: string[];
}

/** What a daemon does in its life, as far as the disk lets it; it recovers as the daemon does. */
export async function live(
  directory: string,
  disk: Disk,
  { events, onPromise = () => {} }: { events: number; onPromise?: (promised: Promised) => void },
): Promise<Promised> {
  const promised: Promised = { agents: [], archived: [] };
  const journal = await openFileJournal(journalOptions(directory, { disk, segmentBytesMax: 300 })).catch(
    () => undefined,
  );
  const archive = await openItems(directory, disk).catch(() => undefined);
  if (journal === undefined) return promised;
  const checkpoint = checkpointOf(directory, journal, promised.agents, disk);
  for (let n = 1; n <= events; n++) {
    const seq = journal.lastSeq + 1;
    try {
      await journal.append(seq, [event(n)]);
      promised.agents.push(`agent-${n}`);
      onPromise(promised);
    } catch (error) {
      if (!(error instanceof StorageUnavailable)) throw error;
      const recovered = checkpoint.flush().then(() => journal.reopen(seq));
      await recovered.catch(() => {});
    }
    if (n % 2 === 1) continue;
    await checkpoint.flush().catch(() => {});
    const archived = archive?.append([{ id: `task-${n}` }]).then(() => {
      promised.archived.push(`task-${n}`);
      onPromise(promised);
    });
    await archived?.catch(() => {});
  }
  await checkpoint.stop();
  await journal.close().catch(() => {});
  await archive?.close().catch(() => {});
  return promised;
}

function checkpointOf(directory: string, journal: FileJournal, agents: readonly string[], disk: Disk): Checkpoint {
  return new Checkpoint({
    directory,
    dataId: DATA_ID,
    stores: STORES.map((name) => ({
      name,
      snapshot: () => ({ seq: journal.lastSeq, fields: { agents: agents.slice(0, journal.lastSeq) }, lists: {} }),
    })),
    fileSeqs: new Map(),
    journal,
    clock: new TestClock(),
    log: new TestLog(),
    historyBytesMax: 300,
    disk,
  });
}

/** What the next daemon makes of it, on a disk that works: each file and the events after it. */
export async function readBack(directory: string): Promise<{ agents: string[]; archived: ReadonlySet<string> }> {
  const files = STORES.map((name) => readStateFile(join(directory, name), { dataId: DATA_ID }));
  const states = (await Promise.all(files)).map((file) => ({
    seq: file?.seq ?? 0,
    agents: [...((file?.content["agents"] as string[] | undefined) ?? [])],
  }));
  const seqs = states.map(({ seq }) => seq);
  const replayFrom = Math.min(...seqs) + 1;
  const journal = await openFileJournal(
    journalOptions(directory, { replayFrom, stateSeq: Math.max(...seqs), disk: hastyDisk }),
  );
  for await (const { seq, event } of journal.read(replayFrom)) {
    for (const state of states) {
      if (seq > state.seq && event.type === "agent.resumed") state.agents.push(event.agent);
    }
  }
  await journal.close();
  const archive = await openItems(directory, hastyDisk);
  const archived = new Set((await archive.list(undefined, 99)).records.map(({ id }) => id));
  await archive.close();
  const [first, second] = states.map(({ agents }) => agents);
  if (first === undefined || first.join() !== second?.join()) throw new Error("the stores differ");
  return { agents: first, archived };
}

function openItems(directory: string, disk: Disk): Promise<Archive<Item>> {
  return openArchive({ directory, name: "tasks", id: ({ id }) => id, log: new TestLog(), fileBytesMax: 100, disk });
}
