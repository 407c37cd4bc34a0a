/** Which agent an `auto` task goes to: an able one that is free, the cheapest first. */
import type { Agent } from "../agent.ts";
import type { Task } from "../task.ts";

/** Agents whose `bestFor` names one of the task's labels; where no agent's does, all of them. Cheapest first, then by name. */
export function candidates(task: Task, agents: readonly Agent[]): readonly Agent[] {
  const dispatchable = agents.filter((agent) => agent.method !== null);
  const able = dispatchable.filter((agent) => agent.bestFor.some((skill) => task.labels.includes(skill)));
  return (able.length > 0 ? able : dispatchable).toSorted(
    (a, b) => a.costMultiplier - b.costMultiplier || (a.name < b.name ? -1 : 1),
  );
}
