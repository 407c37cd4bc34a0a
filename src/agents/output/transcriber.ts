/** The readable transcript of a run's output, as it comes. */
import { readRunSettings } from "../run-directory.ts";
import { lineFormat } from "./formats.ts";
import { LineSplitter, readLine } from "./json-lines.ts";
import type { Understand } from "./said.ts";
import { render } from "./transcript.ts";

/** `null` for a run whose output is plain text: that is as readable as it is. */
export function transcriberOf(runDirectory: string): Transcriber | null {
  const understand = lineFormat(readRunSettings(runDirectory)?.output ?? "text")?.understand;
  return understand === undefined ? null : new Transcriber(understand);
}

export class Transcriber {
  readonly #understand: Understand;
  readonly #splitter = new LineSplitter();
  #bytes = 0;
  /** Words in pieces are under way: what comes next that is none begins a line. */
  #isInLine = false;

  constructor(understand: Understand) {
    this.#understand = understand;
  }

  /** Where it does not begin at the beginning: what stands just before, which is not told again. */
  resume(before: Buffer): void {
    for (const line of new LineSplitter().lines(before)) this.#tell(line);
  }

  /** What the next bytes tell, and how many of all bytes so far are told of: up to the end of the last whole line. */
  add(bytes: Buffer): { readonly text: string; readonly told: number } {
    this.#bytes += bytes.length;
    let text = "";
    for (const line of this.#splitter.lines(bytes)) text += this.#tell(line);
    return { text, told: this.#bytes - this.#splitter.pending };
  }

  /** What follows the last line break, once nothing more comes. */
  end(): string {
    return `${this.#tell(this.#splitter.rest)}${this.#isInLine ? "\n" : ""}`;
  }

  #tell(line: string): string {
    let text = "";
    for (const said of readLine(line, this.#understand)) {
      const told = render(said);
      if (told === "") continue;
      const goesOn = said.is === "text" && said.goesOn === true;
      text += this.#isInLine && !goesOn ? `\n${told}` : told;
      this.#isInLine = goesOn && !told.endsWith("\n");
    }
    return text;
  }
}
