import fc from "fast-check";
import picomatch from "picomatch";
import t from "tap";
import { normalisePattern, overlaps, PatternSet, patternProblem, stepsFor } from "../../src/core/glob.ts";

t.test("two patterns overlap if and only if some path is matched by both", async (t) => {
  const table: readonly [left: string, right: string, overlap: boolean][] = [
    ["src/**", "src/a.ts", true],
    ["src/*.ts", "lib/*.ts", false],
    ["src/*.ts", "src/a.js", false],
    ["a", "a", true],
    ["a", "b", false],
    ["a", "ab", false],
    ["README.md", "readme.md", false],
    // What may be a directory covers its subtree: its last segment has neither a wildcard nor a dot.
    ["src", "src/deep/a.ts", true],
    ["src/lib", "src/lib/deep/a.ts", true],
    ["s?c/lib", "src/lib/a.ts", true],
    ["**/lib", "src/lib/a.ts", true],
    ["src/lib", "src", true],
    ["src/a.ts", "src/a.ts/b", false],
    ["README.md", "README.md/a", false],
    ["README.md", "README.md", true],
    [".env", ".env/a", false],
    ["src/.env", "src/.env/*", false],
    ["{src,a.ts}", "src/b", true],
    ["{src,a.ts}", "a.ts/b", false],
    ["{src,*.ts}/lib", "a.ts/lib/b", true],
    ["src{,.d}", "src/a", true],
    ["src{,.d}", "src.d/a", false],
    // A slash at the end says that it is one.
    ["src/", "src/a", true],
    ["src/", "src", true],
    ["my.dir/", "my.dir/a", true],
    ["my.dir/", "my.dir", true],
    ["my.dir/", "my.dirs", false],
    ["my.dir", "my.dir/a", false],
    ["{my.dir/,b.c}", "my.dir/a", true],
    ["{my.dir/,b.c}", "b.c/a", false],
    ["src/*/", "src/deep/a.ts", true],
    ["src", "src2/a.ts", false],
    ["src", "src/*.ts", true],
    ["src/*", "src/deep/a.ts", false],
    ["src/*", "src/deep", true],
    ["src/*/b", "src/a", true],
    ["src/*/b", "src/a.ts", false],
    ["*", "any/where", false],
    ["s?c", "src/a.ts", false],
    // ** is any number of segments, none included.
    ["**", "a", true],
    ["**", "a/b/c", true],
    ["src/**", "src", true],
    ["src/**/a.ts", "src/a.ts", true],
    ["src/**/a.ts", "src/x/y/a.ts", true],
    ["src/**/a.ts", "lib/x/y/a.ts", false],
    ["a/**/z", "a/b/**/c", true],
    ["a/**/z.ts", "b/**/z.ts", false],
    ["**/*.ts", "**/*.js", false],
    ["src/**/*.ts", "src/README.md", false],
    ["src/**/*.ts", "src/lib", true],
    ["src/**", "src/deep/a.ts", true],
    ["**/a.ts", "**", true],
    ["*.ts", "*.js", false],
    ["src/**/*.ts", "src/*.js", false],
    ["src/**/*.ts", "*.js", false],
    ["**/test/**", "src/a/test", true],
    ["a/**/b/**/c", "a/x/b/y/d", true], // `a/x/b/y/d/c` lies below the one
    ["a/**/b/**/c", "a/x/b/y/c/d", true],
    ["a**b/c", "axb/c", true],
    ["a**b", "a/b", false],
    // * and ? stay within a segment.
    ["*.ts", "src/a.ts", false],
    ["a?c", "a/c", false],
    ["a*c", "ac", true],
    ["a*b*c", "a-c-b", false],
    ["*a", "b*", true],
    ["a*", "*b", true],
    ["a?", "?b", true],
    ["a?", "?bc", false],
    ["?", "ab", false],
    ["a*a", "a", false],
    ["*ab", "*ba", false],
    ["x*ab", "xa*b", true],
    // Sets.
    ["[ab].ts", "b.ts", true],
    ["[ab].ts", "c.ts", false],
    ["[a-m]x", "[n-z]x", false],
    ["[a-n]x", "[n-z]x", true],
    ["[!a]", "a", false],
    ["[!a]", "b", true],
    ["[^a]", "a", false],
    ["[!ab]", "[ab]", false],
    ["[!ab]", "[a-c]", true],
    ["[!a-c]", "[ab]", false],
    ["[!cab]", "[a-c]", false],
    ["[!a-bd-z]", "[a-z]", true],
    ["[!a-cd-z]", "[a-z]", false],
    ["[!a]", "[!b]", true],
    ["[]a]", "]", true],
    ["[!]a]", "]", false],
    ["[a-]", "-", true],
    ["[-a]", "-", true],
    ["[a-c-]", "-", true],
    ["[.]x", ".x", true],
    ["app/[id]/page.tsx", "app/[id]/page.tsx", true],
    ["app/[id]/page.tsx", "app/[slug]/page.tsx", false],
    ["app/[id]", "app/[id]/page.tsx", false], // a set is a wildcard
    ["app/[id]/", "app/[id]/page.tsx", true],
    // Braces.
    ["{src,lib}/a", "lib/a", true],
    ["{src,lib}/a", "bin/a", false],
    ["src/{a,b/c}.ts", "src/b/c.ts", true],
    ["src/{a,b/c}.ts", "src/b.ts", false],
    ["src/{a,{b,c}}{1,2}", "src/c2", true],
    ["src/{a,{b,c}}{1,2}", "src/d2", false],
    ["src/{a,**/b}", "src/x/y/b", true],
    ["src/a{,.test}.ts", "src/a.ts", true],
    ["src/a{,.test}.ts", "src/a.test.ts", true],
    ["src/{,sub/}a", "src/a", true],
    ["{a,b}*", "{c,d}*", false],
    ["{a}", "a", true],
    // Dot files are files like others.
    ["*", ".env", true],
    ["**/*.json", "src/.cache/x.json", true],
    ["?env", ".env", true],
    // Characters, not code units.
    ["?.md", "😀.md", true],
    ["??.md", "😀.md", false],
    ["[😀-😎]", "😃", true],
    ["[😀-😎]", "🚀", false],
    ["[!a]", "😀", true],
    ["файл-*", "файл-1", true],
    ["é", "e", false],
    ["src/a b/*.ts", "src/a b/c.ts", true],
    ["a(b)", "a(b)/c", true],
    ["$HOME/*", "$HOME/x", true],
  ];
  for (const [left, right, overlap] of table) {
    t.equal(overlaps(left, right), overlap, `${left} and ${right}: ${overlap}`);
    t.equal(overlaps(right, left), overlap, `${right} and ${left}: ${overlap}`);
  }
});

t.test("a pattern that cannot be read claims everything: too wide is safe, too narrow is not", async (t) => {
  t.equal(overlaps("src/[", "src/a"), true);
  t.equal(overlaps("{a", "b/*"), true);
  t.equal(overlaps(`{${Array.from({ length: 65 }, (_, n) => n).join(",")}}`, "b*"), true);
});

t.test("a pattern has one spelling", async (t) => {
  const table: readonly [string, string][] = [
    ["src/a.ts", "src/a.ts"],
    ["./src//a.ts", "src/a.ts"],
    ["src/./a", "src/a"],
    ["src/./a/", "src/a/**"],
    ["src/", "src/**"],
    ["src//", "src/**"],
    ["src/.", "src/**"],
    ["my.dir/", "my.dir/**"],
    ["src/**/", "src/**"],
    ["{a,b}/", "{a,b}/**"],
    [".", "**"],
    ["./", "**"],
    ["", "**"],
    ["src/...", "src/..."],
    [".env", ".env"],
  ];
  for (const [pattern, spelling] of table) t.equal(normalisePattern(pattern), spelling, `"${pattern}"`);
});

t.test("patterns that would lock something else than what was meant are refused with the reason", async (t) => {
  const fine = [
    ...["a", "src/**", "src/*.{ts,tsx}", "[a-z]?", "[!a]", "[]]", "a,b", "a(b)", "+x", "@types/x", "a..b", "..."],
    ...[
      "app/[id]/page.tsx",
      "app/[...slug]/page.tsx",
      "app/[[...slug]]/page.tsx",
      "src/~x",
      "C:/x",
      "a b",
      "файл",
      "x!",
    ],
    ...[
      "{{cookiecutter.name}}/src",
      "a".repeat(1024),
      `{${Array.from({ length: 64 }, (_, n) => n).join(",")}}`,
      "{a,..b}",
    ],
  ];
  for (const pattern of fine) t.equal(patternProblem(pattern), null, pattern.slice(0, 40));
  const refused: readonly [string, RegExp][] = [
    ["", /empty/],
    ["a".repeat(1025), /longer than 1024/],
    ["a\0b", /NUL/],
    ["a\\b", /backslash/],
    ["/etc/passwd", /not relative/],
    ["~/x", /not relative/],
    ["~root/x", /not relative/],
    ["{/etc,a}/x", /not relative/],
    ["{~,a}/x", /not relative/],
    ["..", /leads out/],
    ["../x", /leads out/],
    ["a/../../b", /leads out/],
    ["a/..", /leads out/],
    ["{..,a}/b", /leads out/],
    [".{.,x}/b", /leads out/],
    ["{a,b/../c}", /leads out/],
    ["{a/.,x}./b", /leads out/],
    ["!src/**", /negated/],
    ["@(a|b)", /extended glob/],
    ["!(a)", /negated|extended/],
    ["x*(a)", /extended glob/],
    ["x?(a)", /extended glob/],
    ["x+(a)", /extended glob/],
    ["file{1..5}.ts", /sequence/],
    ["{a..e}", /sequence/],
    ["[[:alpha:]]*", /character class/],
    ["{a", /unbalanced/],
    ["a}", /unbalanced/],
    ["a}b{c,d}", /unbalanced/],
    ["{a,{b}", /unbalanced/],
    ["{0,1}{0,1}{0,1}{0,1}{0,1}{0,1}{0,1}", /64 alternatives/],
    ["[", /unclosed/],
    ["[]", /unclosed/],
    ["[!]", /unclosed/],
    ["[a/b]", /unclosed/],
    ["a{b,[}", /unclosed/],
    ["[z-a]", /set/],
  ];
  for (const [pattern, reason] of refused) t.match(patternProblem(pattern), reason, pattern.slice(0, 40));
});

const TEXTS = ["a", "b", "*", "**", "?", "a*", "*b", "?b", "a?", "a**", "[ab]", "[!a]", "[!b]", "[b-c]"];
const SEGMENTS = [...TEXTS, "{a,b}", "{a,c}*", "{a,b/c}", "{a,**}"];

/**
 * picomatch takes `[!a]` for a set with an exclamation mark in it; a set is negated with ^ there. And `a` matches its
 * `a/**`, but not its `?/**`: that the last `**` can be nothing is said to it in so many words.
 */
function matcher(pattern: string): (path: string) => boolean {
  const said = pattern.replaceAll("[!", "[^");
  return picomatch(said.endsWith("/**") ? [said, said.slice(0, -3)] : said, { dot: true });
}

t.test("for every two small patterns, overlaps says what trying out all short paths says", async (t) => {
  const names = ["a", "b", "c"].flatMap((x) => [x, ...["a", "b", "c"].map((y) => x + y)]);
  const paths: string[] = [];
  for (let depth = 0, layer = [""]; depth < 3; depth++) {
    layer = layer.flatMap((path) => names.map((name) => (path === "" ? name : `${path}/${name}`)));
    paths.push(...layer);
  }
  const covered = (pattern: string) => Uint8Array.from(paths.map(coverage(pattern)), Number);
  const patterns = [...SEGMENTS, ...SEGMENTS.flatMap((first) => SEGMENTS.map((second) => `${first}/${second}`))];
  const cover = patterns.map((pattern) => ({ pattern, paths: covered(pattern) }));
  const wrong: string[] = [];
  let pairs = 0;
  for (const [index, left] of cover.entries()) {
    for (const right of cover.slice(index)) {
      pairs++;
      const common = left.paths.findIndex((is, at) => is === 1 && right.paths[at] === 1);
      for (const said of [overlaps(left.pattern, right.pattern), overlaps(right.pattern, left.pattern)]) {
        if (said !== common >= 0) wrong.push(`${left.pattern} and ${right.pattern}: ${paths[common] ?? "no path"}`);
      }
    }
  }
  t.same(wrong.slice(0, 20), [], `${pairs} pairs over ${paths.length} paths`);
});

const name = fc
  .array(fc.constantFrom("a", "b", ".", "-", "ä", "漢"), { minLength: 1, maxLength: 4 })
  .map((chars) => chars.join(""))
  // What `.` and `..` mean as names is not a pattern's business.
  .filter((text) => !/^\.{1,2}$/.test(text));
const path = fc.array(name, { minLength: 1, maxLength: 6 }).map((names) => names.join("/"));

/** A pattern made from a path: some characters wild, some names `**`, perhaps cut short or led astray. */
const made = (from: string) =>
  fc
    .array(fc.tuple(fc.nat(), fc.constantFrom("?", "*", "[ab]", "[!a.]", "{a,b}", "{b,.a/b}", "**", "cut", "z")), {
      maxLength: 5,
    })
    .map((changes) => {
      const segments = from.split("/").map((text) => Array.from(text));
      for (const [place, change] of changes) {
        const at = place % segments.length;
        const chars = segments[at] ?? [];
        if (change === "cut") segments.splice(at + 1);
        else if (change === "**") segments[at] = ["**"];
        else chars[(place % 7) % chars.length] = change;
      }
      return segments.map((chars) => chars.join("")).join("/");
    });

t.test("whatever path two patterns both cover, they overlap, and overlapping knows no left and right", async (t) => {
  let both = 0;
  let neither = 0;
  fc.assert(
    fc.property(
      path.chain((from) => fc.tuple(fc.constant(from), made(from), made(from), fc.array(path, { maxLength: 3 }))),
      ([from, left, right, others]) => {
        const said = overlaps(left, right);
        if (said !== overlaps(right, left)) throw new Error("not symmetric");
        if (!said) neither++;
        const common = [from, ...others].find((one) => covers(left, one) && covers(right, one));
        if (common === undefined) return;
        both++;
        if (!said) throw new Error(`both cover ${common}`);
      },
    ),
    { numRuns: 3000 },
  );
  t.comment(`both covered a known path ${both} times, and ${neither} times they did not overlap`);
  t.ok(both > 500 && neither > 300, "the property was put to the test");
});

t.test("a path that a pattern was made from overlaps with it, and everything below with its directory", async (t) => {
  fc.assert(
    fc.property(path, fc.array(fc.nat({ max: 30 })), name, (made, places, below) => {
      const chars = Array.from(made);
      for (const place of places) if (chars[place] !== undefined && chars[place] !== "/") chars[place] = "?";
      const wide = chars.join("");
      const directory = normalisePattern(`${wide}/`);
      return overlaps(wide, made) && overlaps(directory, made) && overlaps(directory, `${made}/${below}`);
    }),
    { numRuns: 2000 },
  );
  t.pass();
});

t.test("patterns made to be slow are taken to overlap rather than to stall the daemon", async (t) => {
  const tail = `{${Array.from({ length: 8 }, (_, n) => `x${n}`).join(",")}}`;
  const left = `*${"a".repeat(700)}b${tail}`;
  const right = `*${"a".repeat(700)}c${tail}`;
  t.equal(patternProblem(left), null);
  t.equal(overlaps(left, right), true);
  t.equal(overlaps(left, right, stepsFor(1e9)), true, "a single comparison has a limit of its own");

  // Counted, not timed: all that somebody may cause comes out of one measure.
  const steps = stepsFor(2_000_000);
  const many = Array.from({ length: 100 }, (_, n) => `*${"?".repeat(n + 1)}*${"a".repeat(200)}b`);
  let answered = 0;
  for (const one of many)
    for (const other of many) if (overlaps(one, `${other}c`, steps) && steps.left <= 0) answered++;
  t.ok(answered > 5000, "what is left once none are left is answered at once");
  t.ok(steps.left > -100_000, `${steps.left} steps are left`);
});

t.test("braces cannot make much out of little", async (t) => {
  const nested = (depth: number): string => (depth === 0 ? "a" : `{${nested(depth - 1)},b}`);
  t.match(patternProblem(`${"{x".repeat(330)}${"}".repeat(330)}`), /braces/);
  t.match(
    patternProblem(`${"x".repeat(500)}{${Array.from({ length: 60 }, (_, n) => n).join(",")}}`),
    /characters in all/,
  );
  t.equal(patternProblem(nested(20)), null);
  t.equal(patternProblem("src/{a,b,c}/{d,e,f}/*.{ts,tsx,js}"), null);
});

t.test("a set of patterns overlaps with what one of its patterns overlaps with", async (t) => {
  let met = 0;
  const some = path.chain((from) => fc.tuple(fc.array(fc.oneof(made(from), path), { maxLength: 6 }), made(from)));
  fc.assert(
    fc.property(some, fc.constantFrom("", "/", "/b"), ([patterns, one], end) => {
      const set = new PatternSet();
      for (const pattern of patterns) set.add(pattern);
      const pattern = one + end;
      const expected = patterns.some((other) => overlaps(other, pattern));
      if (expected) met++;
      return set.overlaps(pattern) === expected;
    }),
    { numRuns: 3000 },
  );
  t.ok(met > 500 && met < 2900, `${met} of 3000 overlapped`);
  const set = new PatternSet();
  for (const pattern of ["src/lib", "docs/a.md", "my.dir", "bin/", "web/**/*.ts"]) set.add(pattern);
  const table: readonly [string, boolean][] = [
    ["src/lib/deep/a.ts", true],
    ["src", true],
    ["src/li", false],
    ["docs", true],
    ["docs/a.md/b", false],
    ["docs/*.md", true],
    ["my.dir/a", false],
    ["bin/a", true],
    ["lib", false],
    ["web", true],
    ["web/deep/a.ts", true],
    ["web/deep/a.js", false],
    ["web/deep/*.js", false],
    ["my.dir/*", false],
    ["my.dir/**", true],
    ["lib/**", false],
    ["**/*.css", true], // in src/lib
    ["*.css", false],
  ];
  for (const [pattern, overlap] of table) t.equal(set.overlaps(pattern), overlap, pattern);
});

/** Whether a pattern covers a path: one of its alternatives matches it, or may be a directory that the path lies in. */
function coverage(pattern: string): (path: string) => boolean {
  const alternatives = alternativesOf(pattern).map((one) => {
    const matches = matcher(one);
    const last = one.split("/").at(-1) ?? "";
    if (/[*?[.]/.test(last)) return matches;
    return (path: string) => path.split("/").some((_, index, names) => matches(names.slice(0, index + 1).join("/")));
  });
  return (path) => alternatives.some((matches) => matches(path));
}

function covers(pattern: string, path: string): boolean {
  return coverage(pattern)(path);
}

/** Innermost braces first, one pair at a time. */
function alternativesOf(pattern: string): readonly string[] {
  const braces = /\{([^{}]*)\}/.exec(pattern);
  if (braces === null) return [pattern];
  return (braces[1] ?? "").split(",").flatMap((option) => alternativesOf(pattern.replace(braces[0], () => option)));
}
