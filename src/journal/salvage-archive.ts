/** Finds out whether a file of an archive is damaged, and saves its good lines. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { ARCHIVE } from "./archive.ts";
import {
  ARCHIVE_LINE_OPENING,
  archiveLineBody,
  decodeArchiveLine,
  indexName,
  readArchiveIndex,
  scanArchiveFile,
} from "./archive-file.ts";
import { DamagedData } from "./damage.ts";
import type { Disk } from "./disk.ts";
import { LineEncoder, salvageLines } from "./frame.ts";

/** Reads all of it; what a crash can have left at its end is no damage. */
export async function findArchiveDamage(directory: string, file: string): Promise<DamagedData | undefined> {
  const folder = join(directory, ARCHIVE);
  const path = join(folder, file);
  const shown = `${ARCHIVE}/${file}`;
  try {
    const indexed = await readArchiveIndex(join(folder, indexName(file)), path, shown, () => {});
    const good = await scanArchiveFile(path, shown, () => {});
    if (good >= indexed) return undefined;
    const found = "one that does not";
    return new DamagedData({ file: shown, position: good, wanted: "a line that matches its checksum", found });
  } catch (error) {
    if (error instanceof DamagedData) return error;
    throw error;
  }
}

/** Writes the good lines of a file to `target`; resolves with how many were lost. */
export async function salvageArchiveFile(path: string, target: string, disk: Disk): Promise<number> {
  const { lines, lost } = salvageLines(await readFile(path), ARCHIVE_LINE_OPENING);
  const encoder = new LineEncoder(64 * 1024);
  await disk.replace(target, async (sink) => {
    let batch = 0;
    for (const bytes of lines) {
      const line = decodeArchiveLine(bytes);
      if (line === undefined) continue;
      const encoded = encoder.encode(archiveLineBody({ ...line, batch }));
      await sink(encoded);
      batch += encoded.length;
    }
  });
  return lost;
}
