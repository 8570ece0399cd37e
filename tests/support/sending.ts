import type { Waybill } from './waybill.js';

/** An event as a test sends it. `key` is its id and stands in its data, too, where consumers read it back. */
export interface SentEvent {
  readonly key: string;
  readonly account: string;
  readonly type: string;
  /** Told apart from the same key with other content; 0 for originals. */
  readonly variant?: number;
}

export function eventJson({ key, account, type, variant = 0 }: SentEvent): string {
  return JSON.stringify({
    specversion: '1.0',
    id: key,
    source: '/whole',
    type,
    subject: account,
    data: { key, variant, amount: 12.5, note: 'x'.repeat(40) },
  });
}

export interface EventResult {
  readonly index: number;
  readonly id: string;
  readonly verdict: 'sequenced' | 'duplicate' | 'conflict' | 'expired' | 'rejected';
  readonly message: string | null;
  readonly of?: string;
  readonly code?: string;
}

/** How a batch goes over the wire; all three mean the same. */
export type Form = 'ndjson' | 'array' | 'single';

/** Sends events as one batch (or one by one) and answers their results; rejects when it was refused or the answer lost. */
export async function sendEvents(
  waybill: Waybill,
  events: readonly SentEvent[],
  { form = 'ndjson', token }: { readonly form?: Form; readonly token?: string } = {},
): Promise<EventResult[]> {
  const as = token === undefined ? {} : { token };
  const post = async (body: string, type: string) => {
    const answer = await waybill.call('POST', '/v1/events', { ...as, body, headers: { 'content-type': type } });
    if (![200, 202, 409, 422].includes(answer.status)) throw new Refused(answer.status, answer.bytes.toString());
    return (answer.json as { results: EventResult[] }).results;
  };
  switch (form) {
    case 'ndjson':
      return post(events.map((event) => `${eventJson(event)}\n`).join(''), 'application/x-ndjson');
    case 'array':
      return post(`[${events.map(eventJson).join(',')}]`, 'application/cloudevents-batch+json');
    case 'single': {
      const results = [];
      for (const event of events) results.push(...(await post(eventJson(event), 'application/cloudevents+json')));
      return results;
    }
    default: {
      const never: never = form;
      throw never;
    }
  }
}

/** The whole request was refused: nothing of it is known to be in. */
export class Refused extends Error {
  override readonly name = 'Refused';
  constructor(
    readonly status: number,
    body: string,
  ) {
    super(`answered ${status}: ${body.slice(0, 300)}`);
  }
}

export interface Tally {
  sequenced: number;
  duplicate: number;
  conflict: number;
}

/**
 * What senders were told. Every answer about a key must name one and the same message, whoever asked and whenever, and
 * `sequenced` is said of it at most once.
 */
export class Ledger {
  readonly tally: Tally = { sequenced: 0, duplicate: 0, conflict: 0 };
  /** Message id by key. */
  readonly messages = new Map<string, string>();
  readonly #sequenced = new Set<string>();
  readonly violations: string[] = [];

  note(events: readonly SentEvent[], results: readonly EventResult[]): void {
    if (results.length !== events.length) this.violations.push(`${events.length} sent, ${results.length} answered`);
    results.forEach((result, i) => {
      const event = events[i];
      if (event) this.#noteOne(event.key, result);
    });
  }

  #noteOne(key: string, result: EventResult): void {
    if (result.id !== key) this.violations.push(`the answer about ${key} names ${result.id}`);
    switch (result.verdict) {
      case 'sequenced':
        this.tally.sequenced++;
        if (this.#sequenced.has(key)) this.violations.push(`${key} was said to be new twice`);
        this.#sequenced.add(key);
        this.#is(key, result.message);
        return;
      case 'duplicate':
        this.tally.duplicate++;
        this.#is(key, result.of ?? null);
        return;
      case 'conflict':
        this.tally.conflict++;
        this.#is(key, result.of ?? null);
        return;
      default:
        this.violations.push(`${key} was ${result.verdict} (${result.code})`);
    }
  }

  #is(key: string, message: string | null): void {
    const known = this.messages.get(key);
    if (message === null) this.violations.push(`no message is named for ${key}`);
    else if (known === undefined) this.messages.set(key, message);
    else if (known !== message) this.violations.push(`${key} is ${known} and ${message}`);
  }
}

/** Runs the tasks over so many lanes, each lane one after another, like so many clients. */
export async function inLanes(lanes: number, tasks: readonly (() => Promise<void>)[]): Promise<void> {
  const waiting = [...tasks];
  const lane = async () => {
    for (let task = waiting.shift(); task; task = waiting.shift()) await task();
  };
  await Promise.all(Array.from({ length: lanes }, lane));
}
