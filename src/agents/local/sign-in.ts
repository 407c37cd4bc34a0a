/** Whether a known program would find itself signed in, and allowed to do what its agent may, without starting it. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { AgentSettings } from "../../config/schema.ts";
import type { Finding } from "../../dispatcher/ports.ts";
import { localEnvironment } from "../environment.ts";
import type { PresetName } from "../presets/preset.ts";
import { PRESETS } from "../presets/presets.ts";

/**
 * Never a `fail`: a program may know further ways to sign in. `daemon`: the daemon's own environment, out of which the
 * agent's is made.
 */
export function signInFinding(preset: PresetName, settings: AgentSettings, daemon: NodeJS.ProcessEnv): Finding {
  const about = "login";
  const { program, credentials } = PRESETS[preset];
  const environment = localEnvironment(daemon, settings, {});
  const variable = credentials.variables.find((name) => environment[name]);
  if (variable !== undefined) return { about, state: "ok", message: `it is given ${variable}` };
  const home = environment["HOME"];
  const file = home ? credentials.files.find((name) => existsSync(join(home, name))) : undefined;
  if (file !== undefined) return { about, state: "ok", message: `${program} is signed in: ~/${file} is there` };
  // What the daemon has and keeps to itself is most likely what was meant.
  const kept = credentials.variables.find((name) => daemon[name]);
  const handOn =
    kept === undefined
      ? `hand on ${credentials.variables[0]} ("envPass")`
      : `hand on ${kept}, which the daemon has ("envPass")`;
  const message = `no sign-in of ${program} was found: run \`${program}\` once as this user and sign in, or ${handOn}${KEYCHAIN}`;
  return { about, state: "warn", message };
}

/** A Mac's programs like to keep it where nothing but a question on the screen leads to. */
const KEYCHAIN = process.platform === "darwin" ? "; one in the keychain is not seen from here" : "";

/** What the program refuses to the superuser; `null` = nothing stands against it. `uid`: of the daemon. */
export function superuserFinding(
  preset: PresetName,
  { permissions }: Pick<AgentSettings, "permissions">,
  uid: number | undefined,
): Finding | null {
  const { program, notAsRoot = [] } = PRESETS[preset];
  if (uid !== 0 || !notAsRoot.includes(permissions)) return null;
  const message = `the daemon runs as root, to which ${program} refuses "permissions": "${permissions}": run the daemon as another user, or allow less`;
  return { about: "permissions", state: "warn", message };
}
