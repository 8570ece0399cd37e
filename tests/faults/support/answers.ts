import { createHash } from 'node:crypto';

/*
 * What senders and people were told, and whether that is consistent in itself: one key is one message for ever,
 * whoever asks and whenever, and `sequenced` is said of it at most once.
 */

/** An event as it goes over the wire; the first of a key to be stored is the original. */
export interface SentLine {
  readonly text: string;
  /** Null where there is none that could be read. */
  readonly key: string | null;
  readonly expect: 'taken' | 'expired' | 'rejected';
}

export interface LineResult {
  readonly index: number;
  readonly id: string | null;
  readonly verdict: 'sequenced' | 'duplicate' | 'conflict' | 'expired' | 'rejected';
  readonly message: string | null;
  readonly of?: string;
  readonly code?: string;
}

export interface Told {
  sequenced: number;
  duplicate: number;
  conflict: number;
  expired: number;
  rejected: number;
}

interface KnownKey {
  /** Id of its message. */
  readonly message: string;
  /** Hashes of what was said to be the original (or equal to it), and of what was said to be different. */
  readonly same: Set<string>;
  readonly other: Set<string>;
  wasNew: boolean;
}

export class Answers {
  readonly violations: string[] = [];
  readonly told: Told = { sequenced: 0, duplicate: 0, conflict: 0, expired: 0, rejected: 0 };
  /** Arrivals that were sent and never answered in that request: each may have been counted, or not. */
  lost = 0;
  /** How often a sender was told to come again, by status: 429, 503, SMTP 451 … */
  readonly refused = new Map<number, number>();
  readonly events = new Map<string, KnownKey>();
  /** Keys that were said to be expired, and those that were rejected. */
  readonly expired = new Set<string>();
  readonly rejected = new Set<string>();
  /** Message ids by the hash of the mail, in the order named. */
  readonly mails = new Map<string, Set<string>>();
  /** Message id by webhook id. */
  readonly hooks = new Map<string, string>();
  /** Mails and webhooks that were said to be new. */
  readonly #new = new Set<string>();
  /** Ids of messages that the broker took into the queue of the other tenant. */
  readonly orders = new Set<string>();
  /** What people decided, by message id. */
  readonly decisions = new Map<string, 'assign' | 'close'>();

  get acknowledged(): number {
    return this.told.sequenced + this.told.duplicate + this.told.conflict;
  }

  noteEvents(sent: readonly SentLine[], results: readonly LineResult[]): void {
    if (results.length !== sent.length) this.#broken(`${sent.length} lines sent, ${results.length} answered`);
    sent.forEach((line, i) => {
      const result = results[i];
      if (result) this.#noteEvent(line, result, i);
    });
  }

  #noteEvent(line: SentLine, result: LineResult, index: number): void {
    this.told[result.verdict]++;
    if (result.index !== index) this.#broken(`result ${index} says it is ${result.index}`);
    const { key } = line;
    if (key !== null && result.id !== key) this.#broken(`the answer about ${key} names ${result.id}`);
    const allowed = { taken: ['sequenced', 'duplicate', 'conflict'], expired: ['expired'], rejected: ['rejected'] };
    if (!allowed[line.expect].includes(result.verdict)) {
      this.#broken(`${key} was ${result.verdict} (${result.code}), not ${line.expect}`);
      return;
    }
    if (result.verdict === 'expired' && key !== null) this.expired.add(key);
    if (result.verdict === 'rejected' && key !== null) this.rejected.add(key);
    if (line.expect !== 'taken' || key === null) return;
    const message = result.verdict === 'sequenced' ? result.message : result.of;
    if (typeof message !== 'string') {
      this.#broken(`${key} is ${result.verdict}, and no message is named`);
      return;
    }
    const known = this.events.get(key) ?? { message, same: new Set(), other: new Set(), wasNew: false };
    this.events.set(key, known);
    if (known.message !== message) this.#broken(`${key} is ${known.message} and ${message}`);
    const digest = sha256(line.text);
    if (result.verdict === 'conflict') known.other.add(digest);
    else known.same.add(digest);
    if (result.verdict !== 'sequenced') return;
    if (known.wasNew) this.#broken(`${key} was said to be new twice`);
    known.wasNew = true;
  }

  /** `answer`: `250 2.0.0 Ok: queued as 7-1, 3-4; already queued as …`. */
  noteMail(raw: Buffer, recipients: number, answer: string): void {
    const queued = idsAfter(answer, /Ok: queued as ([^;]*)/);
    const already = idsAfter(answer, /already queued as ([^;]*)/);
    this.told.sequenced += queued.length;
    this.told.duplicate += already.length;
    const ids = new Set([...queued, ...already]);
    if (ids.size !== recipients) this.#broken(`a mail to ${recipients} was answered by ${answer}`);
    const digest = sha256(raw);
    const known = this.mails.get(digest) ?? ids;
    this.mails.set(digest, known);
    for (const id of ids) if (!known.has(id)) this.#broken(`a mail is ${[...known]} and ${[...ids]}`);
    for (const id of queued) this.#noteNew(`mail ${id}`);
  }

  noteHook(id: string, result: LineResult): void {
    this.told[result.verdict]++;
    const message = result.verdict === 'sequenced' ? result.message : result.of;
    if (typeof message !== 'string' || !['sequenced', 'duplicate'].includes(result.verdict)) {
      this.#broken(`webhook ${id} was ${result.verdict} ${result.code}`);
      return;
    }
    const known = this.hooks.get(id);
    if (known !== undefined && known !== message) this.#broken(`webhook ${id} is ${known} and ${message}`);
    if (result.verdict === 'sequenced') this.#noteNew(`webhook ${id}`);
    this.hooks.set(id, message);
  }

  /** Once is right, even after others heard that it is a duplicate: the answer of a process that was stopped comes late. */
  #noteNew(what: string): void {
    if (this.#new.has(what)) this.#broken(`${what} was said to be new twice`);
    this.#new.add(what);
  }

  noteRefused(status: number, body: string): void {
    this.refused.set(status, (this.refused.get(status) ?? 0) + 1);
    if (![429, 503, 421, 451, 452].includes(status))
      this.#broken(`sending was answered ${status}: ${body.slice(0, 200)}`);
  }

  noteDecision(message: string, action: 'assign' | 'close', status: number, body: string): void {
    if (status === 200 || status === 202) this.decisions.set(message, action);
    else this.#broken(`${action} of ${message} was answered ${status}: ${body.slice(0, 200)}`);
  }

  #broken(sentence: string): void {
    if (this.violations.length < 50) this.violations.push(sentence);
  }
}

function idsAfter(answer: string, pattern: RegExp): string[] {
  return pattern.exec(answer)?.[1]?.match(/\d+-\d+/g) ?? [];
}

export function sha256(bytes: string | Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
