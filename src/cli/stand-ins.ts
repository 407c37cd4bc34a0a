/** Agents made of nothing but `sh`, for the self-test: each does one thing that real programs do. */
import { join } from "node:path";
import { BUILT_IN_AGENTS } from "../config/defaults.ts";

export const ANSWER = "OK";

/** Where the stand-ins may work. */
export const WORKSPACE = "work";
/** A line for each start of the one that outlives a daemon. */
export const STARTS = "starts";

/** The file that a stand-in waits for, so that it is seen at work, however busy the machine is. */
export function gateOf(agent: string, directory: string): string {
  return join(directory, `gate-${agent}`);
}

/**
 * A stand-in that waits ends by itself when the directory of the self-test is gone, or after half a minute, so that not even a
 * self-test that is killed leaves one behind.
 */
const waitFor = (file: string, directory: string) =>
  `i=0; until [ -e "${file}" ] || [ ! -d "${directory}" ] || [ $i -ge 300 ]; do sleep 0.1; i=$((i + 1)); done`;

/** The daemon's config. The built-in agents are switched off: they are the user's real ones. */
export function standInSettings(directory: string): object {
  const sh = (agent: string, line: string, first = ":") => ({
    command: ["sh", "-c", `cat > /dev/null; ${first}; ${waitFor(gateOf(agent, directory), directory)}; ${line}`],
    killGraceMs: 1000,
    exitGraceMs: 2000,
  });
  const off = Object.entries(BUILT_IN_AGENTS).map(([name, agent]) => [name, { ...agent, enabled: false }]);
  return {
    workspaceRoots: [join(directory, WORKSPACE)],
    agents: {
      ...Object.fromEntries(off),
      answers: { adapter: "cli", ...sh("answers", `echo ${ANSWER}`) },
      "calls-back": { adapter: "spawn", via: "process", ...sh("calls-back", `${CALLBACK}; echo not read`) },
      fails: { adapter: "cli", ...sh("fails", "echo 'no luck today' >&2; exit 3") },
      // Nobody opens its gate.
      hangs: { adapter: "cli", ...sh("hangs", "echo too late") },
      outlives: {
        adapter: "cli",
        ...sh("outlives", `echo ${ANSWER}`, `echo started >> "${join(directory, STARTS)}"`),
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
