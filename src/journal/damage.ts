/** Thrown when a file in the data directory is not what was written there. Whoever meets it stops, and writes nothing. */

export interface Damage {
  /** Relative to the data directory. */
  readonly file: string;
  /** Byte offset at which the file stops being what it should be. */
  readonly position: number;
  readonly wanted: string;
  readonly found: string;
  /** What the user can do, where it is not `repair`. */
  readonly advice?: string;
}

const REPAIR =
  'Nothing was changed. Run "jarvis-orchestrator repair" to rebuild what can be rebuilt; it keeps what it replaces.';

/** A damaged, foreign or unreadable data file: which one, where, what was wanted and what was found. */
export class DamagedData extends Error implements Damage {
  readonly code = "DAMAGED_DATA";
  readonly file: string;
  readonly position: number;
  readonly wanted: string;
  readonly found: string;
  /** The message without the advice, for the one who follows it. */
  readonly finding: string;

  constructor({ file, position, wanted, found, advice = REPAIR }: Damage) {
    const finding = `${file} is damaged at byte ${position}: wanted ${wanted}, found ${found}`;
    super(`${finding}. ${advice}`);
    this.name = "DamagedData";
    this.finding = finding;
    this.file = file;
    this.position = position;
    this.wanted = wanted;
    this.found = found;
  }
}

/** A file that a newer version of this program wrote: nothing is wrong with it, and nothing here may touch it. */
export class NewerData extends DamagedData {
  constructor(damage: Omit<Damage, "position" | "advice">) {
    const advice = "It was written by a newer jarvis-orchestrator: start that one. Nothing was changed.";
    super({ ...damage, position: 0, advice });
    this.name = "NewerData";
  }
}
