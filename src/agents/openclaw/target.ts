/** Which gateway, and what proves to it who we are. */
import { readFileSync } from "node:fs";
import { applyDefaults } from "../../config/apply-defaults.ts";
import { type AgentSettings, OpenClawSettings } from "../../config/schema.ts";
import { AgentProblem } from "../agent-problem.ts";
import { expandHome } from "../paths.ts";

/** Where a token lies; never the token itself. */
export interface TokenSource {
  readonly tokenFile?: string | undefined;
  readonly tokenEnv: string;
}

/** An agent may leave out all of it. */
export function openClawTarget({ openclaw }: Pick<AgentSettings, "openclaw">): OpenClawSettings {
  return openclaw ?? (applyDefaults(OpenClawSettings, {}) as OpenClawSettings);
}

/** Runs of one key share one look at the gateway. */
export function targetKey(target: OpenClawSettings): string {
  const { url, sessionKey, tokenFile, tokenEnv, version, pollMs, requestTimeoutMs } = target;
  return JSON.stringify([url, sessionKey, tokenFile, tokenEnv, version, pollMs, requestTimeoutMs]);
}

/** As a session's host: what a person would look for. */
export function targetName({ url }: Pick<OpenClawSettings, "url">): string {
  return new URL(url).host;
}

/** Read anew each time, so that a changed token needs no restart. Throws `BAD_CONFIG`, with what to set. */
export function readGatewayToken(source: TokenSource, environment: NodeJS.ProcessEnv, setting = "openclaw"): string {
  const { tokenFile, tokenEnv } = source;
  const token = tokenFile === undefined ? environment[tokenEnv]?.trim() : readTokenFile(tokenFile, setting);
  if (token === undefined || token === "") {
    const where = tokenFile === undefined ? `the variable ${tokenEnv} of the daemon` : `${setting}.tokenFile`;
    throw new AgentProblem(
      "BAD_CONFIG",
      `there is no token: ${where} is empty; set it, or name a file in ${setting}.tokenFile`,
    );
  }
  // What no header can hold would end in an error that shows it.
  if (!/^[\x21-\x7e]+$/.test(token)) {
    throw new AgentProblem("BAD_CONFIG", `the token (${tokenFile ?? tokenEnv}) has characters that no token has`);
  }
  return token;
}

function readTokenFile(path: string, setting: string): string {
  try {
    return readFileSync(expandHome(path), "utf8").trim();
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "";
    throw new AgentProblem("BAD_CONFIG", `${setting}.tokenFile ${path} cannot be read (${code})`, { cause: error });
  }
}
