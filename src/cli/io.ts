import type { Readable, Writable } from 'node:stream';
import type { Clock } from '../message/clock.js';
import { EXIT, type ExitCode, Failed, UsageError } from './failure.js';

/** All that a command touches outside of itself, but for the network and files. */
export interface Io {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdin: Readable;
  readonly stdout: Writable & { readonly isTTY?: boolean };
  readonly stderr: Writable & { readonly isTTY?: boolean };
  readonly clock: Clock;
  /** Fires when the user wants it to end. */
  readonly interrupted: AbortSignal;
}

/** What a command says: its result on stdout, as text or as JSON; everything about how it goes on stderr. */
export class Output {
  constructor(
    private readonly io: Io,
    private readonly asJson: () => boolean,
  ) {}

  /** `json` is JSON text, given out as it stands; `text` makes the lines for people. */
  async show(json: string, text: () => readonly string[]): Promise<void> {
    const lines = this.asJson() ? [json.trimEnd()] : text();
    if (lines.length > 0) await write(this.io.stdout, `${lines.join('\n')}\n`);
  }

  note(text: string): void {
    this.io.stderr.write(`${text}\n`);
  }

  /** Shows how far long work has come: on a terminal in place, elsewhere by a line every few seconds. */
  progress(what: string, total: number | undefined): Progress {
    return new Progress(this.io, what, total);
  }

  /** Says why a command ends without having done its work, and gives its exit code. */
  failure(error: unknown): ExitCode {
    if (error instanceof SeenEnough) return EXIT.failed;
    const code = error instanceof UsageError ? EXIT.usage : EXIT.failed;
    const details = error instanceof Failed ? error.details : [];
    const message = error instanceof Error ? error.message : String(error);
    if (this.asJson()) {
      const kind = error instanceof Failed ? error.code : error instanceof UsageError ? 'usage' : 'failed';
      this.note(JSON.stringify({ error: { code: kind, message, details } }));
    } else {
      this.note(`waybill: ${plain(message)}`);
      for (const detail of details) this.note(`  ${plain(detail)}`);
    }
    return code;
  }
}

/** Whoever reads our output has closed it (`waybill pull erp | head`), and wants to hear nothing more. */
class SeenEnough extends Error {
  override readonly name = 'SeenEnough';
}

/** Resolves when the text has gone out, so that a slow reader slows us down. Throws SeenEnough. */
function write(stream: Writable, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.write(text, (error) => {
      if (!error) resolve();
      else reject((error as NodeJS.ErrnoException).code === 'EPIPE' ? new SeenEnough() : error);
    });
  });
}

const TERMINAL_MS = 100;
const LOG_MS = 5_000;

export class Progress {
  #shownAt: number;

  constructor(
    private readonly io: Io,
    private readonly what: string,
    private readonly total: number | undefined,
  ) {
    this.#shownAt = io.clock.monotonic();
  }

  /** `more` stands behind the count. */
  update(done: number, more = ''): void {
    const now = this.io.clock.monotonic();
    if (now - this.#shownAt < (this.io.stderr.isTTY ? TERMINAL_MS : LOG_MS)) return;
    this.#shownAt = now;
    const of = this.total === undefined ? '' : ` of ${count(this.total)} (${Math.floor((done / this.total) * 100)} %)`;
    const line = `${this.what}: ${count(done)}${of}${more}`;
    this.io.stderr.write(this.io.stderr.isTTY ? `${CLEAR_LINE}${line}` : `${line}\n`);
  }

  end(): void {
    if (this.io.stderr.isTTY) this.io.stderr.write(CLEAR_LINE);
  }
}

const CLEAR_LINE = '\r\x1b[2K';

/** 1,234,567 */
export function count(n: number): string {
  return n.toLocaleString('en-US');
}

/**
 * Text as it may go to a terminal: what messages bring could otherwise move the cursor, change colours or turn lines
 * around. White space becomes a space.
 */
export function plain(text: string): string {
  return text.replace(/\s+/g, ' ').replace(/[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu, '\ufffd');
}

/** Text of several lines, each made harmless, their indentation kept. */
export function plainLines(text: string): string[] {
  return text.split(/\r?\n/).map((line) => /^ */.exec(line)?.[0] + plain(line.trimStart()));
}

const CELL = 60;
const GAP = '  ';

/** Lines of a table with a head; long cells are cut, but for those of the last column. */
export function table(head: readonly string[], rows: readonly (readonly (string | number | null)[])[]): string[] {
  const last = head.length - 1;
  const cells = rows.map((row) => row.map((value, column) => cut(plain(String(value ?? '')), column === last)));
  const widths = head.map((title, column) => Math.max(title.length, ...cells.map((row) => row[column]?.length ?? 0)));
  return [head, ...cells].map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join(GAP)
      .trimEnd(),
  );
}

function cut(text: string, whole: boolean): string {
  return whole || text.length <= CELL ? text : `${text.slice(0, CELL - 1)}…`;
}
