import t from "tap";
import { changeTask, createTask, deleteTask } from "../../src/core/decide/tasks.ts";
import type { Task } from "../../src/core/task.ts";
import { archiveSome, DONE_TASKS_KEPT, DONE_TASKS_KEPT_MS } from "../../src/dispatcher/archiver.ts";
import { START } from "../core/world.ts";
import { type Daemon, type Machine, startDaemon } from "./daemon.ts";
import { Host, VirtualArchive, VirtualClock, VirtualDisk } from "./machine.ts";

/** A daemon whose disk takes everything at once, with so many tasks that are done, `t0` the one that was first. */
async function doneTasks(count: number): Promise<{ machine: Machine; daemon: Daemon; commit: () => Promise<void> }> {
  const clock = new VirtualClock(START);
  const disk = new VirtualDisk();
  const host = new Host(clock, disk, () => ({ kind: "succeeds", ms: 1, outputEveryMs: 0 }));
  const machine: Machine = { clock, disk, archive: new VirtualArchive(), host, random: () => 0.5, ids: 0 };
  const daemon = startDaemon(machine);
  // Its own archiving is not what is looked at here.
  await daemon.wakeUp.stop();
  const commit = async () => {
    for (let turn = 0; turn < 5; turn++) {
      await new Promise((resolve) => setImmediate(resolve));
      if (disk.isWaiting) disk.commit(0);
    }
  };
  for (let n = 0; n < count; n++) {
    clock.jump(1);
    const task = { id: `t${n}`, title: "a", assignee: "diego", status: "done" as const };
    void daemon.dispatcher.execute(createTask(task));
  }
  await commit();
  return { machine, daemon, commit };
}

const archiving = async ({ machine, daemon, commit }: Awaited<ReturnType<typeof doneTasks>>) => {
  const { archive, clock } = machine;
  const done = archiveSome({ dispatcher: daemon.dispatcher, archive, now: () => clock.now() });
  done.catch(() => {});
  await commit();
  return done;
};

t.test("what is done and too much goes to the archive, the oldest first, and leaves the board only then", async (t) => {
  const world = await doneTasks(DONE_TASKS_KEPT + 60);
  const { machine, daemon } = world;
  let onBoardThen = 0;
  const append = machine.archive.appendTasks.bind(machine.archive);
  machine.archive.appendTasks = async (tasks: readonly Task[]) => {
    onBoardThen = daemon.dispatcher.state.tasks.byId.size;
    await append(tasks);
  };
  t.equal(await archiving(world), false);
  t.equal(onBoardThen, DONE_TASKS_KEPT + 60);
  t.equal(daemon.dispatcher.state.tasks.byId.size, DONE_TASKS_KEPT);
  t.same(
    [...machine.archive.tasks.keys()],
    Array.from({ length: 60 }, (_, n) => `t${n}`),
  );
  t.equal(await archiving(world), false, "a few too many are left");
});

t.test("what is done for long goes, however few there are", async (t) => {
  const world = await doneTasks(3);
  await archiving(world);
  t.equal(world.machine.archive.tasks.size, 0);
  world.machine.clock.jump(DONE_TASKS_KEPT_MS);
  await archiving(world);
  t.same([...world.machine.archive.tasks.keys()], ["t0", "t1", "t2"]);
});

t.test("what is changed or deleted on the way stays, or stays away", async (t) => {
  const world = await doneTasks(DONE_TASKS_KEPT + 60);
  const { machine, daemon, commit } = world;
  // A change is under way: the archiver waits for the disk before it takes anything.
  void daemon.dispatcher.execute(changeTask({ taskId: "t5", changes: { title: "b" } }));
  const { archive, clock } = machine;
  const done = archiveSome({ dispatcher: daemon.dispatcher, archive, now: () => clock.now() });
  void daemon.dispatcher.execute(deleteTask("t1"));
  void daemon.dispatcher.execute(changeTask({ taskId: "t2", changes: { status: "todo" } }));
  await commit();
  await done;
  t.notOk(archive.tasks.has("t1"), "a deleted task does not come back");
  t.notOk(archive.tasks.has("t2"));
  t.equal(daemon.dispatcher.state.tasks.byId.get("t2")?.status, "todo");
  t.ok(archive.tasks.has("t0"));
});

t.test("an archive that cannot be written keeps everything on the board", async (t) => {
  const world = await doneTasks(DONE_TASKS_KEPT + 60);
  world.machine.archive.appendTasks = () => Promise.reject(new Error("no room"));
  await t.rejects(archiving(world), { message: "no room" });
  t.equal(world.daemon.dispatcher.state.tasks.byId.size, DONE_TASKS_KEPT + 60);
});
