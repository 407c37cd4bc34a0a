/** For adapters whose programs run where this daemon makes no worktrees: nothing runs there without the isolation that it was to have. */
import type { AgentAdapter, Run } from "../../dispatcher/ports.ts";
import { failedRun } from "../run-end.ts";

/** The adapter, but for isolated runs that are new: they end at once, with `NO_WORKTREE`. */
export function refusingIsolation(adapter: AgentAdapter): AgentAdapter {
  return {
    ...adapter,
    open(spec, listener) {
      // One that has begun is only followed.
      if (spec.isolation !== "worktree" || spec.hasBegun === true) return adapter.open(spec, listener);
      const run: Run & { isDone: boolean } = {
        isDone: false,
        stop: () => {},
        detach: async () => {
          run.isDone = true;
        },
      };
      const message = `${spec.agent} works by "${adapter.method}", where no worktree is made: set the task's isolation to none, or give it to a "cli" agent`;
      setImmediate(() => {
        if (!run.isDone) listener.ended(failedRun({ code: "NO_WORKTREE", message }));
      });
      return run;
    },
  };
}
