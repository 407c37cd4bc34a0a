/** The processes of a run on this machine: which they are, who of them lives, and signals to them. */
import type { RunRecord } from "../run-records.ts";
import { bootId, identify, isAlive, isGroupAlive, isPidTaken, signal } from "./processes.ts";
import { EMPTY_SEAL, type Seal, updateSeal } from "./seal.ts";

type Processes = Pick<Seal, "wrapper" | "guard" | "program">;

export class RunProcesses {
  readonly #directory: string;
  /** What is known of them stays as it is, whatever the program writes into the records. */
  #seal: Seal = EMPTY_SEAL;

  constructor(directory: string) {
    this.#directory = directory;
  }

  get seal(): Seal {
    return this.#seal;
  }

  /** The seal that is on disk. */
  take(seal: Seal): void {
    this.#seal = seal;
  }

  /** Who started this wrapper knows it before the wrapper has written anything. */
  started(pid: number): void {
    this.#learn({ wrapper: identify(pid) });
  }

  /** Another wrapper was quicker: who that is, the records say. */
  wasSecond(): void {
    this.#learn({ wrapper: null });
  }

  /** Takes from the records what is not known yet. */
  read({ processes, program }: Pick<RunRecord, "processes" | "program">): void {
    const known = this.#seal;
    // Beside another wrapper than ours stands another guard.
    const isOurs = processes !== null && (known.wrapper === null || known.wrapper.pid === processes.wrapper.pid);
    this.#learn({
      wrapper: known.wrapper ?? processes?.wrapper ?? null,
      guard: known.guard ?? (isOurs ? processes.guard : null),
      program: known.program ?? program,
    });
  }

  /** `thoroughly`: also when the pid is another process's by now. */
  isWrapperAlive(thoroughly: boolean): boolean {
    const { wrapper } = this.#seal;
    if (wrapper === null || this.isOfAnotherBoot) return false;
    return thoroughly ? isAlive(wrapper) : isPidTaken(wrapper.pid);
  }

  killWrapper(): void {
    const { wrapper } = this.#seal;
    if (wrapper !== null && this.isWrapperAlive(true)) signal(wrapper.pid, "SIGKILL");
  }

  isGuardAlive(): boolean {
    const { guard } = this.#seal;
    return guard !== null && !this.isOfAnotherBoot && isAlive(guard);
  }

  /** True where there was a guard to tell that the run is to be stopped. */
  stopByGuard(): boolean {
    const { guard } = this.#seal;
    return guard !== null && this.isGuardAlive() && signal(guard.pid, "SIGTERM");
  }

  killGuard(): void {
    const { guard } = this.#seal;
    if (guard !== null && this.isGuardAlive()) signal(guard.pid, "SIGKILL");
  }

  /** There is nothing left to guard. */
  dismissGuard(): void {
    const { guard } = this.#seal;
    if (guard === null || !this.isGuardAlive()) return;
    signal(guard.pid, "SIGUSR1");
    // It may be frozen.
    signal(guard.pid, "SIGCONT");
  }

  signalGroup(name: NodeJS.Signals): void {
    const { program } = this.#seal;
    if (program !== null && this.isGroupAlive()) signal(-program.pid, name);
  }

  /** True when the group of that number lives and is this run's: a number is used again only when the whole group is gone. */
  isGroupAlive(): boolean {
    const { program } = this.#seal;
    if (program === null || this.isOfAnotherBoot) return false;
    if (isAlive(program)) return true;
    // A zombie keeps the number for the group.
    return identify(program.pid) === null && isGroupAlive(program.pid);
  }

  /** Cheap: some process has the program's pid. */
  isProgramThere(): boolean {
    const { program } = this.#seal;
    return program !== null && isPidTaken(program.pid);
  }

  /** The machine was restarted since: nothing of it lives, whoever has its pids by now. */
  get isOfAnotherBoot(): boolean {
    const { boot, program } = this.#seal;
    const then = boot ?? program?.boot;
    return then !== undefined && then !== bootId();
  }

  #learn(found: Partial<Processes>): void {
    const before = this.#seal;
    this.#seal = { ...before, ...found };
    const { wrapper, guard, program } = this.#seal;
    if (wrapper === before.wrapper && guard === before.guard && program === before.program) return;
    try {
      updateSeal(this.#directory, this.#seal);
    } catch {
      // What is known now is known without it.
    }
  }
}
