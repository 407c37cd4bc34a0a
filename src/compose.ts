/** Puts the daemon together: the one place that names concrete parts. */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import type { Logger } from "pino";
import { wantsCallback } from "./agents/callback-way.ts";
import { buildPrompt } from "./agents/prompt.ts";
import { createRegistry } from "./agents/registry.ts";
import type { Config } from "./config/schema.ts";
import { dispatch } from "./core/decide/dispatch.ts";
import { expire } from "./core/decide/sessions.ts";
import type { Context } from "./core/decision.ts";
import { type ActiveSession, isActive } from "./core/session.ts";
import type { State } from "./core/state.ts";
import { archiveSome } from "./dispatcher/archiver.ts";
import { realClock, realIds } from "./dispatcher/clock.ts";
import { Dispatcher } from "./dispatcher/dispatcher.ts";
import type { RunSpec } from "./dispatcher/ports.ts";
import { Signs } from "./dispatcher/signs.ts";
import { Supervisor } from "./dispatcher/supervisor.ts";
import { callbackToken } from "./http/callback-token.ts";
import { type App, buildServer } from "./http/server.ts";
import { openArchives } from "./journal/archives.ts";
import { filesChangedBy, openStorage } from "./journal/storage.ts";

/** How often clocks are looked at: the finest that a timeout can be told apart. */
const TICK_MS = 250;
/** How long after a start sub-agents may still report before their clocks count. */
const SPAWN_GRACE_MS = 60_000;

export interface Daemon {
  readonly app: App;
  readonly dispatcher: Dispatcher;
  /** Begins to supervise. `url`: where agents reach the daemon, unless the settings say otherwise. */
  start(url: string): void;
  /** Puts settings in force that can change while it runs. */
  reload(config: Config): void;
  /** Stops taking requests, answers those under way, writes everything, leaves the agents at work. Twice is fine. */
  stop(): Promise<void>;
}

export interface DaemonOptions {
  readonly config: Config;
  readonly log: Logger;
  /** The data directory was taken from us: exit without another write. */
  readonly onLost: (error: Error) => void;
}

/** Opens the data, finds its runs again, is ready to listen. @throws DataDirectoryInUse, DamagedData */
export async function composeDaemon({ config: first, log, onLost }: DaemonOptions): Promise<Daemon> {
  let config = first;
  let url = "";
  let draining = false;
  const clock = realClock;
  const ids = realIds();
  const storage = await openStorage({
    path: config.dataDirectory,
    clock,
    log,
    historyDays: config.historyDays,
    onLost,
  });
  const { journal } = storage;
  const dataDirectory = storage.directory.path;
  const secret = Buffer.from(storage.directory.secret, "hex");
  const archive = await openArchives(dataDirectory, log);
  const registry = createRegistry({ config, clock, environment: process.env });
  const signs = new Signs();

  const unavailability = (name: string) => registry.unavailability(name);
  const isArchived = (id: string) => archive.hasTask(id);
  const newId = (prefix: string) => ids.next(prefix);
  const random = () => ids.random();
  /** Made for every command. */
  const circumstances = (): Context => ({
    now: clock.now(),
    agents: registry.byName(),
    humans: humans(config),
    maxConcurrent: config.dispatch.maxConcurrent,
    unavailability,
    isArchived,
    newId,
    random,
    retry: config.retry,
  });
  const dispatcher: Dispatcher = new Dispatcher({
    journal,
    state: storage.state,
    context: circumstances,
    rebuild: () => storage.rebuild(),
    reopen: async (state) => {
      await checkpoint.flush();
      await journal.reopen(state.tasks.seq + 1);
    },
    log,
    pause: (ms) => new Promise((resolve) => void clock.after(ms, () => resolve())),
  });
  const checkpoint = storage.keep(() => dispatcher.state);
  dispatcher.subscribe((events) => checkpoint.changed(filesChangedBy(events)));

  const publicUrl = () => config.server.publicUrl ?? url;
  /** `token`: for a spawn, which has no environment to find it in. */
  const prompt = (session: ActiveSession, state: State, token: string | null) => {
    const task = state.tasks.byId.get(session.taskId);
    const settings = config.agents[session.agent];
    // A run that goes on after its task was deleted is only followed: it got its prompt when it began.
    if (task === undefined || settings === undefined) return "";
    const spawn = session.method === "sessions_spawn";
    const callback = {
      url: `${publicUrl()}/api/orchestrate`,
      sessionId: session.id,
      method: spawn ? ("inline" as const) : ("env" as const),
      token: token ?? undefined,
      mustClaim: spawn,
    };
    return buildPrompt({
      task,
      attempt: session.attempt,
      lockedFiles: session.files,
      lastError: task.lastError,
      callback: wantsCallback(settings, publicUrl()) ? callback : null,
    });
  };
  const supervisor = new Supervisor({
    dispatcher,
    signs,
    now: () => clock.now(),
    adapterOf: (session) => registry.adapterOf(session.method),
    specFor: (session, state): RunSpec => ({
      sessionId: session.id,
      taskId: session.taskId,
      agent: session.agent,
      model: registry.agent(session.agent)?.model ?? null,
      prompt: prompt(session, state, null),
      workspace: session.workspace,
      env: {
        JARVIS_TASK_ID: session.taskId,
        JARVIS_SESSION_ID: session.id,
        JARVIS_CALLBACK_URL: `${publicUrl()}/api/orchestrate`,
        JARVIS_CALLBACK_TOKEN: callbackToken(secret, session.id),
      },
      deadlineAt: session.deadlineAt,
    }),
    log,
  });
  const app = await buildServer({
    config: () => config,
    dispatcher,
    circumstances,
    signs,
    directory: registry,
    journal,
    archive,
    stopNow: (id) => supervisor.stopNow(id),
    now: () => clock.now(),
    random: randomBytes,
    secret,
    runsDirectory: join(dataDirectory, "runs"),
    spawnPrompt: prompt,
    draining: () => draining,
    log,
  });

  let spawnsExpireFrom = Number.POSITIVE_INFINITY;
  let cancelTick = () => {};
  let dispatchedAt = 0;
  let archiving: Promise<void> | null = null;
  const tick = () => {
    cancelTick = clock.after(TICK_MS, tick);
    if (!dispatcher.healthy || draining) return;
    supervisor.reconcile();
    const lastSign = (session: ActiveSession) => signs.of(session.id)?.lastSignAt ?? session.startedAt;
    const work: Promise<unknown>[] = [];
    if (isSomethingTimed(dispatcher.state)) work.push(dispatcher.execute(expire(lastSign, spawnsExpireFrom)));
    if (config.dispatch.auto && clock.monotonic() - dispatchedAt >= config.dispatch.intervalMs) {
      dispatchedAt = clock.monotonic();
      work.push(dispatcher.execute(dispatch({ unattended: true, waitingMax: 0 })));
    }
    archiving ??= archiveAll().finally(() => {
      archiving = null;
    });
    for (const one of work)
      one.catch((error: unknown) => log.warn({ err: error }, "not written down yet; trying again"));
  };
  const archiveAll = async () => {
    try {
      while (!draining && (await archiveSome({ dispatcher, archive, now: () => clock.now() })));
    } catch (error) {
      log.warn({ err: error }, "nothing is archived just now");
    }
  };

  let stopped: Promise<void> | null = null;
  return {
    app,
    dispatcher,
    start(listensAt) {
      url = listensAt;
      // Whoever could not call while nobody was here gets the time to.
      spawnsExpireFrom = clock.now() + SPAWN_GRACE_MS;
      noteStart(dispatcher.state, signs, clock.now());
      tick();
    },
    reload(next) {
      config = next;
      registry.reload(next);
    },
    stop() {
      stopped ??= stop();
      return stopped;
    },
  };

  async function stop(): Promise<void> {
    draining = true;
    cancelTick();
    await app.close();
    // Together: a look at a remote run that is under way ends with its connection.
    await Promise.all([supervisor.close(), registry.close()]);
    await archiving;
    await dispatcher.close();
    // A disk that fails to the end keeps what the journal has: the next start replays it.
    await checkpoint
      .flush()
      .catch((error: unknown) => log.error({ err: error }, "the state files are behind the journal"));
    await checkpoint.stop();
    await journal.close();
    await archive.close();
    await storage.directory.close();
  }
}

let humansOf: Config | null = null;
let humansSet: ReadonlySet<string> = new Set();

function humans(config: Config): ReadonlySet<string> {
  if (humansOf !== config) [humansOf, humansSet] = [config, new Set(config.humans)];
  return humansSet;
}

function isSomethingTimed({ sessions, locks }: State): boolean {
  return sessions.activeByAgent.size > 0 || locks.byId.size > 0;
}

/** Nobody is taken for silent because we were not there to listen. */
function noteStart(state: State, signs: Signs, now: number): void {
  for (const session of state.sessions.byId.values()) if (isActive(session)) signs.note(session.id, now);
}
