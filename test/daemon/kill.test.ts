import { readdirSync, readFileSync } from "node:fs";
import t from "tap";
import { Acknowledged } from "../support/acknowledged.ts";
import { CROWD_AGENTS, Crowd, crowdSettings, HUMAN } from "../support/crowd.ts";
import { type DaemonProcess, Home } from "../support/daemon.ts";
import { chooseSeed, Random } from "../support/random.ts";
import { Witness } from "../support/witness.ts";

const KILLS = Number(process.env.JARVIS_TEST_KILLS ?? 200);
const CLIENTS = 12;
/** Under load, before most kills. */
const LOAD_MS_MAX = 150;
/** Before some: long enough for the state files to be written meanwhile, half a second after the first change. */
const LONG_LOAD_MS_MAX = 700;
/** Every so many kills, everything is compared; after the others, what may have changed since. */
const CHECK_ALL_EVERY = 20;

/** A kill takes half a second; where a machine is busy with other things, much longer. */
t.setTimeout(60_000 + KILLS * 15_000);

t.test(`${KILLS} times killed under load, the daemon keeps what it acknowledged`, async (t) => {
  const seed = chooseSeed();
  t.comment(`JARVIS_TEST_SEED=${seed}`);
  const random = new Random(seed);
  const home = new Home(t);
  const slots = new Map<string, number>(CROWD_AGENTS.map(({ name, maxConcurrent }) => [name, maxConcurrent]));
  const witness = new Witness(home, slots);
  home.configure(crowdSettings(witness.command));
  const record = new Acknowledged({ human: HUMAN, slots, witness });
  const crowd = new Crowd(record, CROWD_AGENTS, { seed, size: CLIENTS });
  const spent = { startMs: [] as number[], checkMs: 0, loadMs: 0, startsKilled: 0, temporaries: 0 };
  const begunAt = performance.now();

  let daemon = await start();
  for (let kill = 1; kill <= KILLS && record.wrong.length === 0; kill++) {
    const loadMs = random.next() * (random.chance(0.1) ? LONG_LOAD_MS_MAX : LOAD_MS_MAX);
    const { answered, ended } = crowd.work(daemon.client);
    // A daemon that has just started needs a moment for its first answers; some do not get that moment.
    if (random.chance(0.8)) await Promise.race([answered, ended]);
    await interruptAfter(loadMs);
    await daemon.kill();
    await ended;
    spent.loadMs += loadMs;
    if (random.chance(0.1)) await killInTheStart();
    const begun = temporaries(home);
    daemon = await start();
    spent.temporaries += begun.length;
    record.wrong.push(
      ...temporaries(home)
        .filter((name) => begun.includes(name))
        .map((name) => `left over: ${name}`),
    );
    await check(kill % CHECK_ALL_EVERY === 0);
  }
  t.same(record.wrong, [], `JARVIS_TEST_SEED=${seed}`);
  if (record.wrong.length > 0) {
    // A life under load does not repeat itself: what the disk says of it is all there will ever be.
    const [name] = /\b(?:t|ses_)[0-9A-Za-z-]+/.exec(record.wrong[0] ?? "") ?? [];
    if (name !== undefined) for (const line of eventsAbout(home, name)) t.comment(line);
    return;
  }

  await crowd.finish(daemon.client);
  await daemon.client.until(
    "the end of all sessions",
    async () => (await daemon.client.status()).activeSessions.length === 0,
  );
  await check(true);
  t.same(record.wrong, [], "in the end everything adds up");
  t.same(witness.open, [], "every program that began has ended");
  t.same(home.livingRuns(), [], "nothing of any run is left");
  t.same(await daemon.stop(), { code: 0, signal: null });
  const starts = spent.startMs.toSorted((a, b) => a - b);
  t.comment(
    `${KILLS} kills (and ${spent.startsKilled} in the middle of a start) in ${seconds(performance.now() - begunAt)} s: ` +
      `${seconds(spent.loadMs)} s of load, ${seconds(spent.checkMs)} s of checks, a start took ${Math.round(starts[starts.length >> 1] ?? 0)} ms (median)`,
  );
  t.comment(
    `${JSON.stringify({ ...crowd.counts, sessions: record.sessions.size, programs: witness.runs.size, comparisons: record.compared, temporariesRemoved: spent.temporaries })}`,
  );

  async function start(): Promise<DaemonProcess> {
    const at = performance.now();
    const started = await home.start();
    spent.startMs.push(performance.now() - at);
    return started;
  }

  async function killInTheStart(): Promise<void> {
    const starting = home.launch();
    await Promise.race([interruptAfter(random.next() * (spent.startMs.at(-1) ?? 0)), starting.exited]);
    await starting.kill();
    spent.startsKilled++;
  }

  async function interruptAfter(ms: number): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, ms));
    crowd.interrupt();
  }

  async function check(all: boolean): Promise<void> {
    const at = performance.now();
    await crowd.settle(daemon.client);
    await record.check(daemon.client, { all });
    spent.checkMs += performance.now() - at;
  }
});

/** Files that are there for the moment of a write: whatever the crash left of them, the next start removes. */
function temporaries({ data }: Home): readonly string[] {
  return ["", "journal/", "archive/"].flatMap((folder) =>
    readdirSync(`${data}/${folder}`)
      .filter((name) => /\.(\d+|begun|salvaged|tmp|new)$|^opening\.lock$/.test(name))
      .map((name) => folder + name),
  );
}

/** Everything in the journal that names a task or session, with its number. */
function eventsAbout({ data }: Home, name: string): readonly string[] {
  const segments = ["archive/journal", "journal"].flatMap((folder) =>
    readdirSync(`${data}/${folder}`)
      .sort()
      .map((file) => `${data}/${folder}/${file}`),
  );
  return segments.flatMap((segment) =>
    readFileSync(segment, "utf8")
      .split("\n")
      .filter((line) => line.includes(`"${name}"`))
      .flatMap((line) => {
        const { seq, events = [] } = JSON.parse(line) as { seq: number; events?: readonly object[] };
        return events.flatMap((event, index) => {
          const text = JSON.stringify(event);
          return text.includes(`"${name}"`) ? [`${seq + index}: ${text.slice(0, 600)}`] : [];
        });
      }),
  );
}

function seconds(ms: number): string {
  return (ms / 1000).toFixed(1);
}
