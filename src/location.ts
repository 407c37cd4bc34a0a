/**
 * Where this program lies: as sources in src/, as a build in dist/. Not for a room to ask by its own import.meta.url, which
 * in the build is that of whatever chunk it came to lie in.
 */

/** Files that are no TypeScript lie below it, in the build as in the sources. */
export const ASSETS = new URL("./", import.meta.url);

export const PACKAGE_FILE = new URL("../package.json", import.meta.url);
