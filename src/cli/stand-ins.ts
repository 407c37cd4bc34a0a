/** Agents made of nothing but `sh`, for the self-test: each does one thing that real programs do. */
import { join } from "node:path";
import { BUILT_IN_AGENTS } from "../config/defaults.ts";

export const ANSWER = "OK";

/** Where the stand-ins may work. */
export const WORKSPACE = "work";
/** What the stand-in that outlives a daemon waits for. */
export const GATE = "gate";
/** A line for each start of that one. */
export const STARTS = "starts";

/** Long enough to be seen at work. */
const WORK = "sleep 0.3";
/**
 * A stand-in that waits ends by itself when the directory of the self-test is gone, or after half a minute, so that not even a
 * self-test that is killed leaves one behind.
 */
const waitFor = (file: string, directory: string) =>
  `i=0; until [ -e "${file}" ] || [ ! -d "${directory}" ] || [ $i -ge 300 ]; do sleep 0.1; i=$((i + 1)); done`;

/** The daemon's config. The built-in agents are switched off: they are the user's real ones. */
export function standInSettings(directory: string): object {
  const gate = join(directory, GATE);
  const never = join(directory, "never");
  const sh = (line: string) => ({
    command: ["sh", "-c", `cat > /dev/null; ${line}`],
    killGraceMs: 1000,
    exitGraceMs: 2000,
  });
  const off = Object.entries(BUILT_IN_AGENTS).map(([name, agent]) => [name, { ...agent, enabled: false }]);
  return {
    workspaceRoots: [join(directory, WORKSPACE)],
    agents: {
      ...Object.fromEntries(off),
      answers: { adapter: "cli", ...sh(`${WORK}; echo ${ANSWER}`) },
      "calls-back": { adapter: "spawn", via: "process", ...sh(`${WORK}; ${CALLBACK}; sleep 0.1; echo not read`) },
      fails: { adapter: "cli", ...sh(`${WORK}; echo 'no luck today' >&2; exit 3`) },
      hangs: { adapter: "cli", ...sh(waitFor(never, directory)) },
      outlives: {
        adapter: "cli",
        ...sh(`echo started >> "${join(directory, STARTS)}"; ${waitFor(gate, directory)}; echo ${ANSWER}`),
      },
    },
  };
}

const BODY = `{\\"taskId\\": \\"$JARVIS_TASK_ID\\", \\"status\\": \\"completed\\", \\"result\\": \\"${ANSWER}, by callback\\"}`;
const CALLBACK = [
  "curl -sS -X PUT",
  '-H "Authorization: Bearer $JARVIS_CALLBACK_TOKEN" -H "Content-Type: application/json"',
  `--data-binary "${BODY}" "$JARVIS_CALLBACK_URL" > /dev/null`,
].join(" ");
