/** GET /api/events: everything that happens, as it happens; `Last-Event-ID` resumes without a gap. */
import { toRecord } from "../api/records.ts";
import { sessionView, taskView } from "../api/views.ts";
import type { Event, StoredEvent } from "../core/event.ts";
import { committed } from "./committed.ts";
import type { App } from "./server.ts";
import type { Services } from "./services.ts";
import { type EventStream, type Streams, sseText } from "./sse.ts";

/** Of what a reader missed, so many events are put together at a time. */
const CATCH_UP_EVENTS = 200;

export function eventRoutes(app: App, services: Services, streams: Streams): void {
  const { dispatcher, journal, log } = services;
  /** The streams that are level with what is committed, each with the newest `seq` that it needs no more. */
  const live = new Map<EventStream, number>();
  let published = dispatcher.committedSeq;
  let sent: Promise<void> = Promise.resolve();

  const unsubscribe = dispatcher.subscribe((events) => {
    const first = events[0]?.seq ?? 0;
    const last = events.at(-1)?.seq ?? 0;
    // After a failed commit, events may be found on disk that nobody was told of.
    const missed = first !== published + 1;
    published = last;
    if (live.size === 0) return;
    const texts = committed(dispatcher, () => events.map((stored) => textOf(stored, services)));
    texts.catch(() => undefined);
    sent = sent.then(async () => {
      try {
        const all = await texts;
        const whole = all.join("");
        for (const [stream, at] of live) {
          if (missed && at < first - 1) stream.push(marker("reset", first - 1));
          if (at < first) stream.push(whole);
          else if (at < last) stream.push(all.slice(at - first + 1).join(""));
          if (at < last) live.set(stream, last);
        }
      } catch (error) {
        log.error({ err: error }, "events could not be shown; ending their streams, which will resume");
        for (const stream of [...live.keys()]) stream.end();
      }
    });
  });
  app.addHook("onClose", async () => unsubscribe());

  app.get(
    "/api/events",
    { schema: { tags: ["watching"], summary: "server-sent events; id is the sequence number, Last-Event-ID resumes" } },
    async (request, reply) => {
      const stream = streams.open(request, reply);
      const last = request.headers["last-event-id"];
      try {
        if (last === undefined) join(stream, "ready");
        else await resume(stream, /^\d{1,15}$/.test(String(last)) ? Number(last) : Number.POSITIVE_INFINITY);
      } catch (error) {
        log.warn({ err: error, last }, "an event stream could not be resumed");
        join(stream, "reset");
      }
      return reply;
    },
  );

  /** Sends what was committed behind `since`, until the reader is level with those that follow live. */
  async function resume(stream: EventStream, since: number): Promise<void> {
    // A reader that knows more than there is has to read everything afresh.
    if (since > dispatcher.committedSeq) return join(stream, "reset");
    let at = since;
    while (at < dispatcher.committedSeq && !stream.closed) {
      const events = await readSome(at + 1);
      const first = events[0]?.seq;
      const last = events.at(-1)?.seq;
      // What is no longer kept cannot be told.
      if (first !== at + 1 || last === undefined) return join(stream, "reset");
      await stream.send(await committed(dispatcher, () => events.map((stored) => textOf(stored, services)).join("")));
      at = last;
    }
    follow(stream, at);
  }

  async function readSome(from: number): Promise<readonly StoredEvent[]> {
    const events: StoredEvent[] = [];
    for await (const stored of journal.read(from)) {
      if (stored.seq > dispatcher.committedSeq) break;
      events.push(stored);
      if (events.length === CATCH_UP_EVENTS) break;
    }
    return events;
  }

  function join(stream: EventStream, kind: "ready" | "reset"): void {
    const seq = dispatcher.committedSeq;
    stream.push(marker(kind, seq));
    follow(stream, seq);
  }

  function follow(stream: EventStream, at: number): void {
    if (stream.closed) return;
    live.set(stream, at);
    stream.onClose(() => live.delete(stream));
  }
}

function marker(kind: "ready" | "reset", seq: number): string {
  return sseText(kind, JSON.stringify({ seq }), String(seq));
}

/** The event as the wire shows it: what it says, and the records it touched as they are now. */
function textOf({ seq, event }: StoredEvent, services: Services): string {
  if (event.type === "request.answered") return "";
  const { state } = services.dispatcher;
  const ids = idsOf(event);
  const task = ids.taskId === undefined ? undefined : state.tasks.byId.get(ids.taskId);
  const session = ids.sessionId === undefined ? undefined : state.sessions.byId.get(ids.sessionId);
  const data: Record<string, unknown> = { seq, type: event.type, at: new Date(event.at).toISOString(), ...ids };
  if (task !== undefined) {
    const { description: _, ...card } = taskView(task);
    data.task = card;
  }
  if (session !== undefined)
    data.session = sessionView(session, { locks: state.locks, sign: (id) => services.signs.of(id) }, true);
  if ("lock" in event && event.lock !== undefined) data.lock = toRecord(event.lock);
  if (event.type === "agent.paused") data.reason = event.pause.reason;
  if (event.type === "task.archived") data.taskIds = event.taskIds;
  if (event.type === "session.archived") data.sessionIds = event.sessionIds;
  return sseText(event.type, JSON.stringify(data), String(seq));
}

function idsOf(event: Event): { taskId?: string; sessionId?: string; agent?: string; lockId?: string } {
  switch (event.type) {
    case "task.created":
    case "task.restored":
      return { taskId: event.task.id };
    case "session.started":
      return { taskId: event.session.taskId, sessionId: event.session.id, agent: event.session.agent };
    case "lock.acquired":
      return { lockId: event.lock.id, sessionId: event.lock.sessionId };
    default:
      return {
        ...("taskId" in event ? { taskId: event.taskId } : {}),
        ...("sessionId" in event ? { sessionId: event.sessionId } : {}),
        ...("agent" in event ? { agent: event.agent } : {}),
        ...("lockId" in event ? { lockId: event.lockId } : {}),
      };
  }
}
