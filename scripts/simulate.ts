/**
 * `npm run simulate`: random lives of the dispatcher and its core, as the test lives them, for as many steps as are wanted. On a
 * broken rule it prints the seed and the least that is left of the life when all is left out that it can do without.
 */
import { parseArgs } from "node:util";
import { type Counts, commandFor, explore, lifeWithDeath, lives, shrink, storyOf } from "../test/dispatcher/lives.ts";
import { chooseSeed } from "../test/support/random.ts";

const HELP = `npm run simulate [-- --seed N] [--steps M] [--die-after K]

  --seed N        the first life's seed; the same one, the same lives (by chance)
  --steps M       how many steps in all, in lives of 250 (100000)
  --die-after K   one life of M steps, whose process dies after step K, too

Ends with status 0 when no rule was broken, else with 1, the seed and the shortest life that was found to break the same rule.
`;
const PROGRESS_EVERY_MS = 3000;
const SHRINK_MS = 60_000;

interface Options {
  readonly seed: number;
  readonly steps: number;
  readonly dieAfter: number | null;
}

const options = optionsOf(process.argv.slice(2));
if (typeof options === "string") {
  process.stderr.write(`simulate: ${options}\n\n${HELP}`);
  process.exit(2);
}
process.exitCode = await simulate(options);

async function simulate({ seed, steps, dieAfter }: Options): Promise<number> {
  const startedAt = performance.now();
  let saidAt = startedAt;
  process.stdout.write(`seed ${seed}, ${steps} steps\n`);
  const all = dieAfter === null ? lives(seed, steps) : [lifeWithDeath(seed, steps, dieAfter)];
  const { counts, failure } = await explore(all, (counts) => {
    if (performance.now() - saidAt < PROGRESS_EVERY_MS) return;
    saidAt = performance.now();
    process.stdout.write(
      `${secondsSince(startedAt)} s: ${countsText(counts, ["steps", "lives", "crashes", "sessions"])}\n`,
    );
  });
  process.stdout.write(`\n${secondsSince(startedAt)} s: ${countsText(counts, Object.keys(counts))}\n`);
  if (failure === null) {
    process.stdout.write("no rule was broken\n");
    return 0;
  }
  process.stdout.write(`\nA RULE IS BROKEN: ${failure.broken.rule}\n${commandFor(failure)}\n`);
  process.stdout.write(`shrinking, for ${SHRINK_MS / 1000} s at most ...\n\n`);
  process.stdout.write(`${storyOf(failure, await shrink(failure, SHRINK_MS))}\n`);
  return 1;
}

function countsText(counts: Counts, names: readonly string[]): string {
  return names.map((name) => `${name} ${counts[name] ?? 0}`).join(", ");
}

function secondsSince(at: number): string {
  return ((performance.now() - at) / 1000).toFixed(1);
}

function optionsOf(args: readonly string[]): Options | string {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        seed: { type: "string" },
        steps: { type: "string" },
        "die-after": { type: "string" },
        help: { type: "boolean", short: "h" },
      },
    });
    if (values.help === true) {
      process.stdout.write(HELP);
      process.exit(0);
    }
    for (const [name, value] of Object.entries(values)) {
      if (typeof value === "string" && !/^\d{1,15}$/.test(value)) return `--${name} ${value}: wanted is a whole number`;
    }
    const steps = Number(values.steps ?? 100_000);
    const dieAfter = values["die-after"] === undefined ? null : Number(values["die-after"]);
    if (dieAfter !== null && dieAfter >= steps) return `--die-after ${dieAfter}: the last step is ${steps - 1}`;
    return { seed: values.seed === undefined ? chooseSeed() : Number(values.seed), steps, dieAfter };
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
