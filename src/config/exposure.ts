/** Who could reach the daemon: without a token, it may only listen where other machines cannot come. */
import { isIP, isIPv6 } from "node:net";
import type { ConfigProblem } from "./config-error.ts";
import type { Config } from "./schema.ts";

/** What is wrong with listening on this host with this token, or `null`. `given` follows the host: see `givenBy`. */
export function checkExposure(config: Pick<Config, "server" | "token">, given = ""): ConfigProblem | null {
  const { host } = config.server;
  if (config.token !== null || isLoopbackHost(host)) return null;
  const which = isIP(host) === 0 ? "which is no loopback address" : "which other machines can reach";
  return {
    path: "server.host",
    found: `"${host}"${given}, ${which}, without a token`,
    wanted:
      "a loopback address such as 127.0.0.1, or a token (JARVIS_TOKEN_FILE; `jarvis-orchestrator init` makes one)",
  };
}

export function isLoopbackHost(host: string): boolean {
  return host.toLowerCase() === "localhost" || host === "::1" || /^(?:::ffff:)?127(?:\.\d{1,3}){3}$/i.test(host);
}

/** `0.0.0.0` and `::`: every address of the machine, and none that could be called. */
export function isWildcardHost(host: string): boolean {
  return /^(?:0(?:\.0){0,3}|[0:]*::[0:]*)$/.test(host);
}

/** The URL of a host and port as callers on the same machine write it. */
export function urlOf(host: string, port: number): string {
  if (isWildcardHost(host)) return urlOf(host.includes(":") ? "::1" : "127.0.0.1", port);
  return `http://${isIPv6(host) ? `[${host}]` : host}:${port}`;
}
