import t from "tap";
import { clockFinding, diskFinding, problemOf } from "../../src/agents/findings.ts";

const MIB = 1024 ** 2;

t.test("room for output", async (t) => {
  for (const [freeBytes, state, message] of [
    [null, "fail", /^runs cannot be written/],
    [0, "fail", /^runs has 0 MiB free: too little/],
    [16 * MIB - 1, "fail", /15 MiB/],
    [16 * MIB, "warn", /16 MiB free: make room/],
    [1024 * MIB - 1, "warn", /1023 MiB/],
    [1024 * MIB, "ok", /^runs has 1.0 GiB free$/],
    [250 * 1024 * MIB, "ok", /250 GiB/],
  ] as const) {
    t.match(diskFinding("runs", freeBytes), { about: "disk", state, message }, String(freeBytes));
  }
});

t.test("a clock that is off", async (t) => {
  for (const [offMs, state, message] of [
    [0, "ok", /agrees/],
    [5100, "ok", /agrees/],
    [-5100, "ok", /agrees/],
    [5200, "warn", /5 s ahead of ours/],
    [-3_600_000, "warn", /3600 s behind ours/],
  ] as const) {
    t.match(clockFinding(offMs, 100), { about: "clock", state, message }, String(offMs));
  }
});

t.test("only what keeps everything from starting is a problem", async (t) => {
  const warn = { about: "clock", state: "warn", message: "off" } as const;
  const fail = { about: "disk", state: "fail", message: "full" } as const;
  t.equal(problemOf([]), null);
  t.equal(problemOf([warn]), null);
  t.equal(problemOf([warn, fail, { ...fail, message: "second" }]), "full");
});
