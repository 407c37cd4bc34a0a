/** The daemon as a process: starts it, tells systemd, obeys signals. */
import { execFile } from "node:child_process";
import { renameSync, rmSync, writeFileSync } from "node:fs";
import { pino } from "pino";
import { composeDaemon, type Daemon } from "./compose.ts";
import { type ConfigProblem, problemLine } from "./config/config-error.ts";
import { checkExposure, urlOf } from "./config/exposure.ts";
import { reloadConfig } from "./config/reload.ts";
import type { Config } from "./config/schema.ts";
import { type ConfigSources, givenBy, listeningFileOf } from "./config/sources.ts";
import { realClock } from "./dispatcher/clock.ts";
import { type RepairedFile, repairDirectory as repairDataDirectory } from "./journal/repair-directory.ts";

/** Mends a data directory that no daemon is using. */
export function repairDirectory(config: Config): Promise<readonly RepairedFile[]> {
  const log = pino({ level: "silent" });
  return repairDataDirectory(config.dataDirectory, realClock, log);
}

/** Requests under way get so long; SIGTERM promises an end within 10 s. */
const STOP_MS = 8000;

export interface ServeOptions {
  /** Where SIGHUP reads the settings again. */
  readonly sources: ConfigSources;
  readonly warnings: readonly string[];
}

/** Runs until a signal ends it; resolves with the exit code: 0 stopped, 1 failure, 2 wrong settings. */
export async function serve(first: Config, { sources, warnings }: ServeOptions): Promise<number> {
  let config = first;
  const log = pino({ level: config.logLevel, redact: ["token", "*.token", "headers.authorization", "headers.cookie"] });
  const exposure = checkExposure(config, givenBy(sources, "host"));
  if (exposure !== null) {
    complain(exposure);
    return 2;
  }
  for (const warning of warnings) log.warn(warning);
  if (config.token === null) {
    log.warn(
      "no operator token is set: every program on this machine, agents included, may do everything; set JARVIS_TOKEN",
    );
  }
  let end: (code: number) => void = () => {};
  const ended = new Promise<number>((resolve) => {
    end = resolve;
  });
  let daemon: Daemon;
  try {
    daemon = await composeDaemon({
      config,
      log,
      onLost: (error) => {
        log.fatal({ err: error }, "the data directory was taken from this daemon; leaving without another write");
        process.exit(1);
      },
    });
  } catch (error) {
    return startFailed(error);
  }
  try {
    // Fastify says for each address that it listens; one line that names the URL is enough.
    if (log.isLevelEnabled("info")) log.level = "warn";
    await daemon.app.listen({ host: config.server.host, port: config.server.port });
  } catch (error) {
    await daemon.stop();
    return listenFailed(error, config, sources);
  } finally {
    log.level = config.logLevel;
  }
  const url = urlOf(config.server.host, portOf(daemon));
  const listeningFile = listeningFileOf(config.dataDirectory);
  try {
    writeListening(listeningFile, url);
  } catch (error) {
    log.warn({ err: error }, "commands have to be told with --url where this daemon listens");
  }
  daemon.start(url);
  log.info({ url }, "listening");
  const stopWatchdog = tellSystemd(log);

  let stopping = false;
  const stop = (signal: string) => {
    // Ctrl-C under npm comes twice, from the terminal and from npm; unheard, the second would kill.
    if (stopping) return;
    stopping = true;
    log.info({ signal }, "stopping; agents at work go on");
    notify("STOPPING=1");
    // While the directory is still ours: the next daemon's file is not ours to remove.
    rmSync(listeningFile, { force: true });
    const forced = setTimeout(() => daemon.app.server.closeAllConnections(), STOP_MS);
    daemon
      .stop()
      .then(
        () => end(0),
        (error: unknown) => {
          log.fatal({ err: error }, "the stop failed");
          end(1);
        },
      )
      .finally(() => clearTimeout(forced));
  };
  const reload = () => {
    const result = reloadConfig(config, sources);
    if ("error" in result) {
      log.error({ problems: result.error.message.split("\n") }, "the config is wrong; the old settings go on to hold");
      return;
    }
    config = result.config;
    daemon.reload(config);
    log.level = config.logLevel;
    for (const warning of result.warnings) log.warn(warning);
    log.info({ changed: result.changed, needRestart: result.restart }, "config read again");
  };
  process.on("SIGTERM", stop).on("SIGINT", stop).on("SIGHUP", reload);
  const code = await ended;
  process.off("SIGTERM", stop).off("SIGINT", stop).off("SIGHUP", reload);
  stopWatchdog();
  return code;
}

/** The port in use, which differs from the settings' where they say 0. */
function portOf({ app }: Daemon): number {
  const address = app.server.address();
  return typeof address === "object" && address !== null ? address.port : 0;
}

/** For the command: where this process listens, which the settings need not say. Replaced whole; it need not outlive a power cut. */
function writeListening(file: string, url: string): void {
  const fresh = `${file}.new`;
  rmSync(fresh, { force: true });
  writeFileSync(fresh, `${JSON.stringify({ url, pid: process.pid })}\n`, { mode: 0o600, flag: "wx" });
  renameSync(fresh, file);
}

/** A host or port that cannot be used. Not wrong usage: a name or address may only be missing until the network is up. */
function listenFailed(error: unknown, { server }: Config, sources: ConfigSources): number {
  const { code } = error as NodeJS.ErrnoException;
  if (code === "ENOTFOUND" || code === "EAI_AGAIN" || code === "EADDRNOTAVAIL") {
    const found = `"${server.host}"${givenBy(sources, "host")}, which is no address of this machine (${code})`;
    complain({ path: "server.host", found, wanted: "a name or address of this machine such as 127.0.0.1" });
    return 1;
  }
  if (code === "EACCES") {
    const found = `${server.port}${givenBy(sources, "port")}, where this user may not listen (${code})`;
    complain({ path: "server.port", found, wanted: "a port from 1024 on, or 0 for a free one" });
    return 1;
  }
  return startFailed(error);
}

function complain(problem: ConfigProblem): void {
  process.stderr.write(`error: the configuration cannot be used\n  ${problemLine(problem)}\n`);
}

function startFailed(error: unknown): number {
  const { code, message } = error as NodeJS.ErrnoException;
  const known = code === "EADDRINUSE" ? `${message}; is another daemon running? choose another with --port` : message;
  process.stderr.write(`jarvis-orchestrator: ${known}\n`);
  return 1;
}

/** Type=notify: says that the daemon is up, then that it lives, as long as its event loop turns. */
function tellSystemd(log: { warn(facts: object, message: string): void }): () => void {
  if (process.env.NOTIFY_SOCKET === undefined) return () => {};
  notify("READY=1", (error) =>
    log.warn({ err: error }, "systemd-notify does not work; the service will be taken for hung"),
  );
  const everyMs = Number(process.env.WATCHDOG_USEC ?? 0) / 2000;
  if (!(everyMs > 0)) return () => {};
  const timer = setInterval(() => notify("WATCHDOG=1"), everyMs);
  return () => clearInterval(timer);
}

function notify(state: string, onError: (error: Error) => void = () => {}): void {
  if (process.env.NOTIFY_SOCKET === undefined) return;
  execFile("systemd-notify", ["--no-block", state], (error) => {
    if (error !== null) onError(error);
  });
}
