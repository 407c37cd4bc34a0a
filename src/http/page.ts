/** GET /: the board as a plain page without scripts. It shows; changes go through the API and the command. */
import { createHash } from "node:crypto";
import { TASK_STATUSES, type Task } from "../core/task.ts";
import { committed } from "./committed.ts";
import type { App } from "./server.ts";
import type { Services } from "./services.ts";
import { agentViews } from "./status.ts";

const CARDS_SHOWN = 100;
const REFRESH_S = 5;

const STYLE = `
:root { color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif; }
body { margin: 0; padding: 1.5rem; }
h1 { font-size: 1.25rem; margin: 0 0 .25rem; }
h2 { font-size: .8rem; letter-spacing: .06em; text-transform: uppercase; margin: 0 0 .75rem; opacity: .8; }
main { display: grid; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); gap: 1.25rem; margin-top: 1.5rem; }
article { border: 1px solid color-mix(in srgb, currentColor 22%, transparent); border-radius: .5rem; padding: .6rem .75rem; margin-bottom: .6rem; overflow-wrap: anywhere; }
article p { margin: .3rem 0 0; font-size: .85rem; opacity: .85; }
table { border-collapse: collapse; margin-top: 1rem; font-size: .9rem; }
th, td { text-align: left; padding: .25rem 1.25rem .25rem 0; font-weight: normal; }
th { opacity: .75; }
`;

const POLICY = `default-src 'none'; style-src 'sha256-${createHash("sha256").update(STYLE).digest("base64")}'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'`;

export function pageRoutes(app: App, services: Services): void {
  app.get("/", { config: { page: true }, schema: { hide: true } as never }, async (request, reply) => {
    const html = request.signedIn ? await committed(services.dispatcher, () => board(services)) : signIn();
    return reply
      .header("content-type", "text/html; charset=utf-8")
      .header("content-security-policy", POLICY)
      .header("referrer-policy", "no-referrer")
      .header("cache-control", "no-store")
      .send(html);
  });
}

function board(services: Services): string {
  const tasks = [...services.dispatcher.state.tasks.byId.values()];
  const columns = TASK_STATUSES.map((status) => {
    const inColumn = tasks.filter((task) => task.status === status).sort((a, b) => b.updatedAt - a.updatedAt);
    const more = inColumn.length > CARDS_SHOWN ? `<p>and ${inColumn.length - CARDS_SHOWN} more</p>` : "";
    return `<section><h2>${status.replace("_", " ")} ${inColumn.length}</h2>${inColumn.slice(0, CARDS_SHOWN).map(card).join("")}${more}</section>`;
  });
  const rows = agentViews(services).map(
    (agent) =>
      `<tr><td>${text(agent.agent)}</td><td>${text(agent.model ?? "")}</td><td>${agent.active} of ${agent.maxConcurrent}</td><td>${agent.availability.replace("_", " ")}</td><td>${text(agent.reason ?? "")}</td></tr>`,
  );
  const empty =
    tasks.length === 0
      ? '<p>No task yet. Add the first: <code>jarvis-orchestrator task add "Say hello" --assignee claude</code></p>'
      : "";
  return shell(
    `<table><tr><th>agent</th><th>model</th><th>slots</th><th>state</th><th></th></tr>${rows.join("")}</table>${empty}<main>${columns.join("")}</main>`,
    `<meta http-equiv="refresh" content="${REFRESH_S}">`,
  );
}

function card(task: Task): string {
  const last = task.comments.at(-1);
  const said = last === undefined ? "" : `<p>${text(last.author)}: ${text(last.content.slice(0, 200))}</p>`;
  const hold = task.hold === null ? "" : `<p>held: ${text(task.hold.message)}</p>`;
  return `<article>${text(task.title)}<p>${task.priority} · ${text(task.assignee)}${task.attempts > 0 ? ` · attempt ${task.attempts}` : ""}</p>${hold}${said}</article>`;
}

function signIn(): string {
  return shell(
    "<p>This daemon has a token. Use the command or the API with it: <code>jarvis-orchestrator status</code>.</p>",
    "",
  );
}

function shell(body: string, head: string): string {
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">${head}<title>Jarvis Orchestrator</title><style>${STYLE}</style></head><body><h1>Jarvis Orchestrator</h1>${body}</body></html>`;
}

/** Text of a task is text, whatever it contains. */
function text(value: string): string {
  return value.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);
}
