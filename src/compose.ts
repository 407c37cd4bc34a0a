/** Puts the daemon together: the one place that names concrete parts. */
import { randomBytes } from "node:crypto";
import { homedir } from "node:os";
import { join } from "node:path";
import type { Logger } from "pino";
import { hasNoEnvironment, wantsCallback } from "./agents/callback-way.ts";
import { startWake } from "./agents/openclaw/wake.ts";
import { transcriberOf } from "./agents/output/transcriber.ts";
import { priceOf } from "./agents/prices.ts";
import { buildPrompt } from "./agents/prompt.ts";
import { pruneRuns } from "./agents/prune-runs.ts";
import { createRegistry } from "./agents/registry.ts";
import { runDirectory } from "./agents/run-directory.ts";
import { createVerifier } from "./agents/verification.ts";
import type { Config } from "./config/schema.ts";
import type { Context } from "./core/decision.ts";
import type { ActiveSession, Usage } from "./core/session.ts";
import type { State } from "./core/state.ts";
import { realClock, realIds } from "./dispatcher/clock.ts";
import { Dispatcher } from "./dispatcher/dispatcher.ts";
import type { RunSpec } from "./dispatcher/ports.ts";
import { Signs } from "./dispatcher/signs.ts";
import { Supervisor } from "./dispatcher/supervisor.ts";
import { WakeUp } from "./dispatcher/wake-up.ts";
import { callbackToken } from "./http/callback-token.ts";
import { type App, buildServer } from "./http/server.ts";
import { openArchives } from "./journal/archives.ts";
import { filesChangedBy, openStorage, type Storage } from "./journal/storage.ts";

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
export async function composeDaemon({ config, log, onLost }: DaemonOptions): Promise<Daemon> {
  const { dataDirectory: path, historyDays } = config;
  const storage = await openStorage({ path, clock: realClock, log, historyDays, onLost });
  try {
    return await composeOn(storage, config, log);
  } catch (error) {
    await storage.close();
    throw error;
  }
}

async function composeOn(storage: Storage, first: Config, log: DaemonOptions["log"]): Promise<Daemon> {
  let config = first;
  let url = "";
  let draining = false;
  const clock = realClock;
  const ids = realIds();
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
  const price = (agent: string, usage: Usage | undefined) => priceOf(registry.agent(agent), usage);
  /** Made for every command. */
  const circumstances = (): Context => ({
    now: clock.now(),
    agents: registry.byName(),
    humans: humans(config),
    maxConcurrent: config.dispatch.maxConcurrent,
    unavailability,
    isArchived,
    home: homedir(),
    newId,
    random,
    retry: config.retry,
    price,
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
    const inline = spawn || hasNoEnvironment(settings);
    const callback = {
      url: `${publicUrl()}/api/orchestrate`,
      sessionId: session.id,
      method: inline ? ("inline" as const) : ("env" as const),
      token: token ?? (inline && !spawn ? callbackToken(secret, session.id) : undefined),
      mustClaim: spawn,
    };
    return buildPrompt({
      task,
      attempt: session.attempt,
      lockedFiles: session.files,
      lastError: task.lastError,
      goesOn: session.resumes !== undefined,
      isolation: session.isolation ?? "none",
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
      hasBegun: session.run !== undefined,
      isolation: session.isolation,
      taskCreatedAt: state.tasks.byId.get(session.taskId)?.createdAt,
      resumes: session.resumes,
      workOf: session.resumes?.origin,
    }),
    verifier: createVerifier({
      clock,
      config: () => config,
      adapterFor: (session) => registry.workspaceAdapter(session.method),
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
    worktrees: registry.worktrees,
    stopNow: (id) => supervisor.stopNow(id),
    now: () => clock.now(),
    random: randomBytes,
    secret,
    runsDirectory: join(dataDirectory, "runs"),
    transcriber: (id) => transcriberOf(runDirectory(dataDirectory, id)),
    spawnPrompt: prompt,
    draining: () => draining,
    log,
  });

  const wakeUp = new WakeUp({
    dispatcher,
    supervisor,
    signs,
    archive,
    clock,
    settings: () => config.dispatch,
    log,
  });

  const wake = startWake({
    subscribe: (listener) => dispatcher.subscribe(listener),
    settings: () => config.wake,
    clock,
    environment: process.env,
    log,
  });

  /** In the background: nobody waits for room that is not needed yet. */
  let cancelPrune = () => {};
  const pruneLater = (delayMs: number) => {
    cancelPrune = clock.after(delayMs, () => {
      const before = clock.now() - config.historyDays * DAY_MS;
      const { byId } = dispatcher.state.sessions;
      pruneRuns({ directory: join(dataDirectory, "runs"), before, isKept: (id) => byId.has(id) })
        .catch((error: unknown) => log.warn({ err: error }, "the output of old runs cannot be removed"))
        .finally(() => {
          if (!draining) pruneLater(PRUNE_EVERY_MS);
        });
    });
  };

  let stopped: Promise<void> | null = null;
  return {
    app,
    dispatcher,
    start(listensAt) {
      url = listensAt;
      wakeUp.start();
      pruneLater(PRUNE_FIRST_MS);
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
    cancelPrune();
    wake.stop();
    // Whoever waits for git is answered that it was stopped.
    registry.worktrees.close();
    const settled = wakeUp.stop();
    await app.close();
    // Together: a look at a remote run that is under way ends with its connection.
    await Promise.all([supervisor.close(), registry.close(), settled]);
    await dispatcher.close();
    // A disk that fails to the end keeps what the journal has: the next start replays it.
    await checkpoint
      .flush()
      .catch((error: unknown) => log.error({ err: error }, "the state files are behind the journal"));
    await checkpoint.stop();
    await archive.close();
    await storage.close();
  }
}

const DAY_MS = 24 * 60 * 60 * 1000;
const PRUNE_EVERY_MS = 60 * 60 * 1000;
/** Not among the work of a start. */
const PRUNE_FIRST_MS = 60 * 1000;

let humansOf: Config | null = null;
let humansSet: ReadonlySet<string> = new Set();

function humans(config: Config): ReadonlySet<string> {
  if (humansOf !== config) [humansOf, humansSet] = [config, new Set(config.humans)];
  return humansSet;
}
