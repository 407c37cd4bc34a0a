/** What can be found out about a gateway without starting anything. */
import type { Finding } from "../../dispatcher/ports.ts";
import { type AdapterContext, agentSettings } from "../adapter-context.ts";
import { AgentProblem, hostWords } from "../agent-problem.ts";
import { parseFamilies } from "./children.ts";
import { createGateway } from "./gateway.ts";
import { askVersion, versionIn } from "./host.ts";
import { openClawTarget, readGatewayToken } from "./target.ts";
import { takesMoreArguments } from "./version.ts";

/** Can it be reached, does it take our token, which version is it, and does it let us start and follow children. */
export async function inspectGateway(context: AdapterContext, agent: string): Promise<readonly Finding[]> {
  const missing = findMissingToken(context, agent);
  if (missing !== null) return [{ about: "token", state: "fail", message: missing }];
  const target = openClawTarget(agentSettings(context, agent));
  const gateway = createGateway(target, context.environment, new AbortController().signal);
  const status = await askVersion(gateway);
  // Its own refusal of this one tool keeps nothing from working.
  if (status.kind !== "ok" && !(status.kind === "refused" && status.status === 404))
    return [{ about: "connection", state: "fail", message: status.problem.message }];

  const reached: Finding = {
    about: "connection",
    state: "ok",
    message: `the OpenClaw gateway ${gateway.name} can be reached, and takes our token`,
  };
  const version = target.version ?? versionIn(status);
  return [reached, versionFinding(version), await spawnFinding(gateway), await listFinding(gateway)];
}

/** What can be seen without reaching anything; `null` = nothing is missing. */
export function findMissingToken(context: AdapterContext, agent: string): string | null {
  try {
    readGatewayToken(openClawTarget(agentSettings(context, agent)), context.environment);
    return null;
  } catch (error) {
    if (error instanceof AgentProblem) return error.message;
    throw error;
  }
}

function versionFinding(version: string | null): Finding {
  const about = "version";
  if (version === null) {
    const message =
      'it does not say its version, so it gets only what all versions take, and each end costs a turn of the requester\'s model: set openclaw.version, such as "2026.9"';
    return { about, state: "warn", message };
  }
  const few = takesMoreArguments(version)
    ? ""
    : ": too old for quiet runs, so each end costs a turn of the requester's model";
  return { about, state: few === "" ? "ok" : "warn", message: `OpenClaw ${version}${few}` };
}

/** Without its one required argument nothing can start: a gateway that would run the tool complains of that, one that would not has none. */
async function spawnFinding(gateway: ReturnType<typeof createGateway>): Promise<Finding> {
  const about = "tool";
  const answer = await gateway.invoke("sessions_spawn", {});
  const isThere = answer.kind === "ok" || (answer.kind === "refused" && answer.status === 400);
  if (!isThere) return { about, state: "fail", message: answer.problem.message };
  const message =
    'sessions_spawn may be called; that children have exec, without which none can report by curl, is not to be seen from here (gateway.tools.allow: "exec")';
  return { about, state: "ok", message };
}

async function listFinding(gateway: ReturnType<typeof createGateway>): Promise<Finding> {
  const about = "children";
  const answer = await gateway.invoke("subagents", { action: "list" });
  if (answer.kind !== "ok") return { about, state: "fail", message: answer.problem.message };
  const families = parseFamilies(answer.details);
  if (families === null) {
    const message = `its list of children is none that is known here: ${hostWords(JSON.stringify(answer.details))}`;
    return { about, state: "fail", message };
  }
  const running = [...families.values()].flatMap(({ children }) => children.filter(({ state }) => state === "running"));
  return { about, state: "ok", message: `children can be followed; ${running.length} of this session are at work` };
}
