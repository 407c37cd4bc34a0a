/** The state files of a simulated disk: each at a `seq` of its own, written behind the journal and never ahead of it. */
import type { StoredEvent } from "../../src/core/event.ts";
import { replayFrom, type State } from "../../src/core/state.ts";
import { leaveQueues } from "../../src/core/task-board.ts";
import { transition } from "../../src/core/transition.ts";
import { type FileContent, STATE_FILES, type StateFileName, snapshotOf, stateFrom } from "../../src/journal/stores.ts";
import type { Random } from "../support/random.ts";

/** So many former versions of each file are kept to be mixed. */
const VERSIONS_KEPT = 5;

interface Version {
  readonly seq: number;
  readonly text: string;
}

export class StateFiles {
  /** Of each file, oldest first: the last one is the one in place. */
  readonly #versions = new Map<StateFileName, Version[]>();
  /** Written, and not in place before what they contain is committed. */
  #waiting: { readonly name: StateFileName; readonly version: Version }[] = [];

  /** Writes files as the head has them; `storedSeq` is what is committed. */
  write(names: readonly StateFileName[], state: State, storedSeq: number): void {
    for (const name of names) this.#waiting.push({ name, version: versionOf(name, state) });
    this.committed(storedSeq);
  }

  /** Of a state that is committed. */
  writeAll(state: State): void {
    for (const name of STATE_FILES) this.#place(name, versionOf(name, state));
  }

  committed(seq: number): void {
    if (this.#waiting.length === 0) return;
    const due = this.#waiting.filter(({ version }) => version.seq <= seq);
    this.#waiting = this.#waiting.filter(({ version }) => version.seq > seq);
    for (const { name, version } of due) this.#place(name, version);
  }

  /** A commit failed or the process is gone: what waited for it never takes its place. */
  dropped(): void {
    this.#waiting = [];
  }

  current(): ReadonlyMap<StateFileName, FileContent> {
    return new Map(STATE_FILES.map((name) => [name, read(this.#versions.get(name)?.at(-1))]));
  }

  /** Each file at any of its versions, or absent, whatever the others are: a start has to cope with every mix. */
  mix(random: Random): ReadonlyMap<StateFileName, FileContent> {
    return new Map(
      STATE_FILES.map((name) => [name, random.chance(0.1) ? null : read(random.of(this.#versions.get(name) ?? []))]),
    );
  }

  #place(name: StateFileName, version: Version): void {
    const versions = this.#versions.get(name) ?? [];
    this.#versions.set(name, versions);
    if (versions.push(version) > VERSIONS_KEPT) versions.shift();
  }
}

/** The state that these files and the journal behind them give, read as storage.ts does. */
export function replayed(files: ReadonlyMap<StateFileName, FileContent>, stored: readonly StoredEvent[]): State {
  const state = stateFrom(files);
  const makeQueues = leaveQueues(state.tasks);
  for (let at = replayFrom(state) - 1; at < stored.length; at++) transition(state, stored[at] as StoredEvent);
  makeQueues();
  return state;
}

function versionOf(name: StateFileName, state: State): Version {
  const { seq, fields, lists } = snapshotOf(name, state);
  const content: Record<string, unknown> = { ...fields };
  for (const [field, { records, encode }] of Object.entries(lists)) content[field] = records.map(encode);
  return { seq, text: JSON.stringify(content) };
}

function read(version: Version | undefined): FileContent {
  return version === undefined ? null : { seq: version.seq, content: JSON.parse(version.text) };
}
