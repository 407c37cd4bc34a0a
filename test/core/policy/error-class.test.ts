import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import t from "tap";
import {
  canGetBetter,
  classOf,
  codeOf,
  ERROR_CLASSES,
  type ErrorClass,
  isInterruption,
} from "../../../src/core/policy/error-class.ts";

/** Whether another attempt may end differently, and whether it may go on in the agent's own session. */
const CLASSES: Readonly<Record<ErrorClass, readonly [canGetBetter: boolean, isInterruption: boolean]>> = {
  auth: [false, false],
  rate_limit: [true, true],
  quota: [true, false],
  overloaded: [true, true],
  network: [true, true],
  not_installed: [false, false],
  bad_config: [false, false],
  refused_permission: [false, false],
  context_overflow: [false, false],
  max_turns: [false, false],
  budget: [false, false],
  crashed: [true, true],
  killed: [true, true],
  timed_out: [true, true],
  empty_result: [true, false],
  unknown: [true, false],
};

/** Every code that a session can end with. */
const CODES: Readonly<Record<string, ErrorClass>> = {
  AGENT_REPORTED: "unknown",
  FAILED: "unknown",
  OUTPUT_LIMIT: "unknown",
  RESUME_FAILED: "unknown",
  SPAWN_UNCLAIMED: "unknown",
  VERIFICATION_FAILED: "unknown",
  AUTHENTICATION_FAILED: "auth",
  BAD_CONFIG: "bad_config",
  BAD_WORKSPACE: "bad_config",
  WORKSPACE_NOT_FOUND: "bad_config",
  ARGUMENT_TOO_LONG: "bad_config",
  HOST_KEY_UNKNOWN: "bad_config",
  HOST_KEY_CHANGED: "bad_config",
  HOST_UNREACHABLE: "network",
  NOT_INSTALLED: "not_installed",
  START_FAILED: "crashed",
  BROKEN_OFF: "crashed",
  EXIT_STATUS: "crashed",
  SIGNAL: "killed",
  STOPPED: "killed",
  CANCELLED: "killed",
  TASK_MOVED: "killed",
  TASK_DELETED: "killed",
  RUN_LOST: "killed",
  TIMED_OUT: "timed_out",
  START_TIMED_OUT: "timed_out",
  STALLED: "timed_out",
  NO_WORKTREE: "bad_config",
  PROVIDER_AUTHENTICATION_FAILED: "auth",
  PROVIDER_RATE_LIMITED: "rate_limit",
  GATEWAY_RESTARTED: "killed",
  CANCELLED_THERE: "killed",
  NOT_CANCELLED: "unknown",
  SPAWN_REFUSED: "unknown",
  AGENT_FAILED: "unknown",
};

t.test("every class says whether a person is needed, and whether it came from outside", async (t) => {
  for (const errorClass of ERROR_CLASSES) {
    const code = codeOf(errorClass);
    t.equal(classOf(code), errorClass);
    t.same([canGetBetter(code), isInterruption(code)], CLASSES[errorClass], errorClass);
  }
});

t.test("every code has the class that decides what comes next", async (t) => {
  for (const [code, errorClass] of Object.entries(CODES)) {
    t.equal(classOf(code), errorClass, code);
    t.same([canGetBetter(code), isInterruption(code)], CLASSES[errorClass], code);
  }
});

t.test("a code that nobody knows can get better, and nothing is gone on with", async (t) => {
  for (const code of ["", "NO_SUCH_CODE", "auth", "Auth", "constructor", "__proto__", "toString"]) {
    t.same([classOf(code), canGetBetter(code), isInterruption(code)], ["unknown", true, false], code);
  }
});

t.test("no code of a session's end is missing here", async (t) => {
  const source = fileURLToPath(new URL("../../../src/", import.meta.url));
  const files = readdirSync(source, { recursive: true, encoding: "utf8" }).filter((file) =>
    /^(agents|dispatcher|core\/decide)\/.*\.ts$/.test(file),
  );
  const text = files.map((file) => readFileSync(join(source, file), "utf8")).join("\n");
  const found = [
    // An error with its sentence, unlike a reason to wait, a warning or a hold.
    ...text.matchAll(/error(?: =|:) \{\s*code: "([A-Z_]+)"/g),
    ...text.matchAll(/\b(?:lostRun|lost|AgentProblem)\(\s*"([A-Z_]+)"/g),
    ...text.matchAll(/\berrorOf\([^;]*?, "([A-Z_]+)"\)/g),
    ...text.matchAll(/^ {2}\| "([A-Z_]+)";?$/gm),
  ].map(([, code = ""]) => code);
  t.ok(new Set(found).size >= 15, `${new Set(found).size} codes`);
  const missing = [...new Set(found)].filter((code) => !Object.hasOwn(CODES, code) && codeOf(classOf(code)) !== code);
  t.same(missing, []);
});
