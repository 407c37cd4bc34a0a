// Loaded before the program under test (`node --import`): how late its event loop is. With SIGUSR2 it writes what it saw
// since the last one to the file that BENCH_LOOP_DELAY names, in ms, and begins anew.

import { renameSync, writeFileSync } from "node:fs";
import { monitorEventLoopDelay } from "node:perf_hooks";

const RESOLUTION_MS = 1;

const file = process.env.BENCH_LOOP_DELAY;
const histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
histogram.enable();

process.on("SIGUSR2", () => {
  // The histogram holds the time between two turns of a timer: what is beyond the timer's own time is the delay.
  const late = (ns) => Math.max(0, ns / 1e6 - RESOLUTION_MS);
  const seen = {
    p50: late(histogram.percentile(50)),
    p99: late(histogram.percentile(99)),
    max: late(histogram.max),
    count: histogram.count,
  };
  histogram.reset();
  writeFileSync(`${file}.new`, JSON.stringify(seen));
  renameSync(`${file}.new`, file);
});
