import t from "tap";
import { dispatch } from "../../src/core/decide/dispatch.ts";
import { callback } from "../../src/core/decide/report.ts";
import { createTask } from "../../src/core/decide/tasks.ts";
import type { Command } from "../../src/core/decision.ts";
import { SPAWN_GRACE_MS, TICK_MS } from "../../src/dispatcher/wake-up.ts";
import { HOUR, MINUTE, SECOND, START } from "../core/world.ts";
import { type Daemon, killDaemon, type Machine, startDaemon } from "./daemon.ts";
import { type Behaviour, Host, VirtualArchive, VirtualClock, VirtualDisk } from "./machine.ts";

const NEVER_ENDS: Behaviour = { kind: "hangs", ms: 0, outputEveryMs: 0 };

class Life {
  readonly machine: Machine;
  daemon: Daemon;

  constructor({ auto = false, behaviour = NEVER_ENDS } = {}) {
    const clock = new VirtualClock(START);
    const disk = new VirtualDisk();
    const host = new Host(clock, disk, () => behaviour);
    this.machine = { clock, disk, archive: new VirtualArchive(), host, random: () => 0.5, ids: 0 };
    this.daemon = startDaemon(this.machine, { auto });
  }

  async must<A>(command: Command<A>): Promise<A> {
    const executing = this.daemon.dispatcher.execute(command);
    await this.settle();
    const executed = await executing;
    if (!executed.ok) throw new Error(executed.refusal.message);
    return executed.answer;
  }

  /** Timer by timer; whatever is written on the way is on disk at once. */
  async pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; ) {
      const { passed } = this.machine.clock.step(left);
      left -= passed;
      this.machine.host.move();
      await this.settle();
    }
  }

  async settle(): Promise<void> {
    for (let turn = 0; turn < 4; turn++) {
      await new Promise((resolve) => setImmediate(resolve));
      if (this.machine.disk.isWaiting) this.machine.disk.commit(0);
    }
  }

  async restart(awayMs: number): Promise<void> {
    killDaemon(this.machine, 0);
    this.machine.clock.leap(awayMs);
    this.daemon = startDaemon(this.machine);
    await this.settle();
  }

  statusOf(taskId: string): string | undefined {
    const { state } = this.daemon.dispatcher;
    const id = state.sessions.byTask.get(taskId)?.at(-1);
    return id === undefined ? undefined : state.sessions.byId.get(id)?.status;
  }
}

t.test("with auto, what can start is started by itself, a spawn for a heartbeat is not", async (t) => {
  const life = new Life({ auto: true });
  for (const assignee of ["copilot", "claude"]) await life.must(createTask({ id: assignee, title: "a", assignee }));
  await life.pass(6 * SECOND);
  t.equal(life.statusOf("copilot"), "running");
  t.equal(life.statusOf("claude"), undefined);
});

t.test("without, nothing is", async (t) => {
  const life = new Life();
  await life.must(createTask({ id: "a", title: "a", assignee: "copilot" }));
  await life.pass(MINUTE);
  t.equal(life.statusOf("a"), undefined);
});

t.test("silence is measured from when somebody listens", async (t) => {
  const life = new Life();
  await life.must(createTask({ id: "a", title: "a", assignee: "copilot" }));
  await life.must(dispatch({}));
  await life.pass(4 * MINUTE);
  t.equal(life.statusOf("a"), "running");
  await life.restart(10 * MINUTE);
  await life.pass(4 * MINUTE);
  t.equal(life.statusOf("a"), "running", "nobody was there to hear it");
  await life.pass(2 * MINUTE);
  t.equal(life.statusOf("a"), "stalled");
});

t.test("a sub-agent that could not report while nobody was there gets a minute for it", async (t) => {
  const life = new Life();
  await life.must(createTask({ id: "a", title: "a", assignee: "claude" }));
  const { dispatched } = await life.must(dispatch({}));
  const sessionId = dispatched[0]?.session.id;
  await life.must(callback({ taskId: "a", status: "running", sessionId, sessionKey: "key" }));
  await life.restart(HOUR);
  await life.pass(SPAWN_GRACE_MS - SECOND);
  t.equal(life.statusOf("a"), "running", "its time was over long ago");
  await life.pass(SECOND + TICK_MS);
  t.equal(life.statusOf("a"), "timed_out");
});

t.test("a clock that jumps ends nothing: who lives is heard first", async (t) => {
  for (const jump of [HOUR, -HOUR]) {
    const life = new Life();
    for (const assignee of ["copilot", "claude"]) await life.must(createTask({ id: assignee, title: "a", assignee }));
    const { dispatched } = await life.must(dispatch({}));
    const sessionId = dispatched.find(({ session }) => session.taskId === "claude")?.session.id;
    await life.must(callback({ taskId: "claude", status: "running", sessionId, sessionKey: "key" }));
    await life.pass(SECOND);
    life.machine.clock.jump(jump);
    await life.pass(SPAWN_GRACE_MS - SECOND);
    t.same([life.statusOf("copilot"), life.statusOf("claude")], ["running", "running"], `by ${jump} ms`);
    await life.pass(5 * MINUTE + TICK_MS);
    t.equal(life.statusOf("copilot"), "stalled", "silent since, for as long as it may be");
  }
});

t.test("a program that does not begin in time has failed, and what the daemon was away does not count", async (t) => {
  const life = new Life({ behaviour: { kind: "idles", ms: 0, outputEveryMs: 0 } });
  await life.must(createTask({ id: "a", title: "a", assignee: "copilot", startTimeoutMs: 30 * SECOND }));
  await life.must(dispatch({}));
  await life.pass(20 * SECOND);
  await life.restart(10 * MINUTE);
  await life.pass(29 * SECOND);
  t.equal(life.statusOf("a"), "starting");
  await life.pass(2 * SECOND);
  const { state } = life.daemon.dispatcher;
  t.match(state.sessions.byId.get(state.sessions.byTask.get("a")?.at(-1) ?? ""), {
    outcome: { status: "failed", error: { code: "START_TIMED_OUT", message: /30 s/ } },
  });
});

t.test("stopped, it looks no more", async (t) => {
  const life = new Life();
  await life.must(createTask({ id: "a", title: "a", assignee: "copilot" }));
  await life.must(dispatch({}));
  await life.pass(SECOND);
  await life.daemon.wakeUp.stop();
  await life.pass(20 * MINUTE);
  t.equal(life.statusOf("a"), "running", "silent for long");
});
