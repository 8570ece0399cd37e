import { setTimeout as pause } from 'node:timers/promises';
import { createTransport } from 'nodemailer';
import type { Seeded } from '../../support/seeded.js';
import { inLanes } from '../../support/sending.js';
import { until } from '../../support/until.js';
import type { Waybill } from '../../support/waybill.js';
import { type Answers, type LineResult, type SentLine, sha256 } from './answers.js';
import type { Publisher } from './publisher.js';

/*
 * Everybody who sends: several at once, each again and again until it is answered, whatever dies. And a person who
 * assigns and closes what waits in the inbox.
 */

/** Another tenant takes its messages from a queue, and passes them on to one. */
export const OTHER = { tenant: 'other', queue: 'faults.orders', target: 'wms' } as const;
export const OTHER_RULES = 'rules:\n  - { name: all, when: { kind: amqp }, then: { targets: wms } }\n';

export interface Doors {
  /** Any process that takes messages in; null when there is none. */
  readonly ingress: () => Waybill | null;
  /** Any process that serves the API. */
  readonly web: () => Waybill | null;
  /** Before the queue of the other tenant. */
  readonly orders: Publisher;
}

/** What an event's type leads to, by the rules of every run. */
export const TYPES = {
  usage: ['erp'],
  order: ['erp', 'archive'],
  note: ['crm', 'erp'],
  letter: ['desk'],
  noise: [],
  riddle: [],
} as const satisfies Record<string, readonly string[]>;
export type Type = keyof typeof TYPES;

/** The type of the event of this key. */
export function typeOf(key: string): Type {
  return key.slice(key.lastIndexOf('-') + 1) as Type;
}

export const MAIL_TARGETS = ['archive', 'desk'];
export const HOOK_TARGETS = ['archive', 'crm'];
export const BOOKS = 'books@faults.example';
const PEOPLE = 'people@faults.example';

export const RULES = `rules:
  - { name: usage, when: { type: { prefix: usage } }, then: { targets: erp } }
  - { name: orders, when: { type: { prefix: order } }, then: { targets: [erp, archive] } }
  - { name: notes, when: { type: { prefix: note } }, then: { targets: [crm, erp] } }
  - { name: letters, when: { type: { prefix: letter } }, then: { targets: desk } }
  - { name: noise, when: { type: { prefix: noise } }, then: { close: nobody wants it } }
  - { name: books, when: { kind: mail, account: ${BOOKS} }, then: { targets: [archive, desk] } }
  - { name: shop, when: { kind: webhook }, then: { targets: [archive, crm] } }
`;

/** An event, by which others are made that are the same, or say something else under the same id. */
interface Original {
  readonly key: string;
  readonly account: string;
  readonly type: Type;
}

/** How often each type comes, in twentieths. */
const COMMON: readonly Type[] = [
  ...new Array<Type>(9).fill('usage'),
  ...new Array<Type>(4).fill('order'),
  ...new Array<Type>(3).fill('note'),
  'letter',
  'noise',
  'noise',
  'riddle',
];
const ACCOUNTS = 60;
const KEPT = 400;
const AGAIN_MS = 25;
/** Between two orders. */
const ORDER_MS = 100;

export class Clients {
  readonly #events: Original[] = [];
  readonly #mails: Buffer[] = [];
  readonly #hooks: string[] = [];
  readonly #lines: SentLine[] = [];
  readonly #stopping = new AbortController();
  #lanes: Promise<unknown> = Promise.resolve();
  #count = 0;
  #insists = true;
  /** Pause between two requests of a client, in ms: how busy they are. */
  restMs = 15;

  constructor(
    private readonly doors: Doors,
    private readonly answers: Answers,
    private readonly random: Seeded,
    private readonly name: string,
  ) {}

  start(lanes = 3): void {
    const work = Array.from({ length: lanes }, () => this.#lane(() => this.#sendSomething()));
    // Whoever can't get on for want of the broker holds up nobody else.
    const beside = [this.#lane(() => this.#decideSomething()), this.#lane(() => this.#orderSomething())];
    this.#lanes = Promise.all([...work, ...beside]);
    // Said when they are stopped.
    this.#lanes.catch(() => undefined);
  }

  /** One more client, with one mail. */
  mailOnce(): void {
    this.#lanes = Promise.all([this.#lanes, this.#sendMail(this.#newMail())]);
    this.#lanes.catch(() => undefined);
  }

  /** Waits until so many more arrivals have been acknowledged. */
  async more(arrivals: number, withinMs = 60_000): Promise<void> {
    const wanted = this.answers.acknowledged + arrivals;
    await until(() => this.answers.acknowledged >= wanted, `${arrivals} more arrivals to be acknowledged`, withinMs);
  }

  /** No client begins anything new; resolves when each has its answer. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#lanes;
  }

  /** They leave without an answer: the run has failed. */
  async giveUp(): Promise<void> {
    this.#insists = false;
    await this.stop().catch(() => undefined);
  }

  /** Everything that was ever sent, once more: nothing of it is new. */
  async sendAllAgain(): Promise<void> {
    const tasks: (() => Promise<void>)[] = [];
    for (let at = 0; at < this.#lines.length; at += 400) {
      const lines = this.#lines.slice(at, at + 400);
      tasks.push(() => this.#sendLines(lines));
    }
    for (const mail of this.#mails) tasks.push(() => this.#sendMail(mail));
    for (const hook of this.#hooks) tasks.push(() => this.#sendHook(hook));
    for (const order of this.answers.orders) tasks.push(() => this.#order(order));
    const before = this.answers.told.sequenced;
    await inLanes(3, tasks);
    const fresh = this.answers.told.sequenced - before;
    if (fresh > 0)
      this.answers.violations.push(`${fresh} arrivals were acknowledged, and are new when they come again`);
  }

  async #lane(work: () => Promise<void>): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      await work();
      await pause(this.restMs, undefined, { signal: this.#stopping.signal }).catch(() => undefined);
    }
  }

  #sendSomething(): Promise<void> {
    const { random } = this;
    const luck = random.below(100);
    if (luck < 4) return this.#sendMail(this.#again(this.#mails) ?? this.#newMail());
    if (luck < 8) return this.#sendHook(this.#again(this.#hooks) ?? this.#newHook());
    const lines = Array.from({ length: luck < 20 ? 1 : 1 + random.below(30) }, () => this.#line());
    // One key several times in a request.
    if (random.below(8) === 0) lines.push(random.pick(lines), random.pick(lines));
    return this.#sendLines(lines);
  }

  #again<T>(known: readonly T[]): T | undefined {
    return known.length > 0 && this.random.below(4) === 0 ? this.random.pick(known) : undefined;
  }

  #line(): SentLine {
    const { random } = this;
    const luck = random.below(100);
    const known = this.#events.length > 0 ? random.pick(this.#events) : this.#newEvent();
    const line = this.#lineOf(luck, known);
    this.#lines.push(line);
    return line;
  }

  #lineOf(luck: number, known: Original): SentLine {
    const { random } = this;
    if (luck < 2) return { text: `{"specversion":"1.0","id":"broken-${this.#count++}"`, key: null, expect: 'rejected' };
    if (luck < 4) return { text: eventText({ ...this.#original(), key: '' }, 0), key: null, expect: 'rejected' };
    if (luck < 6) return old(this.#original());
    if (luck < 12) return taken(known, 1 + random.below(3));
    if (luck < 14) return taken({ ...known, account: `${known.account}-b` }, 0);
    if (luck < 28) return taken(known, 0);
    return taken(this.#newEvent(), 0);
  }

  #newEvent(): Original {
    const event = this.#original();
    // The oldest are forgotten, so that repeats come soon after their original and long after it.
    if (this.#events.length < KEPT) this.#events.push(event);
    else this.#events[this.random.below(KEPT)] = event;
    return event;
  }

  #original(): Original {
    const { random } = this;
    const type = random.pick(COMMON);
    return { key: `${this.name}-${this.#count++}-${type}`, account: `customer-${random.below(ACCOUNTS)}`, type };
  }

  async #sendLines(lines: readonly SentLine[]): Promise<void> {
    const body = lines.map(({ text }) => `${text}\n`).join('');
    const results = await this.#insist(lines.length, async (waybill) => {
      const answer = await waybill.call('POST', '/v1/events', {
        body,
        headers: { 'content-type': 'application/x-ndjson' },
        withinMs: PATIENCE_MS,
      });
      if (![200, 202, 409, 422].includes(answer.status)) return this.#refused(answer.status, answer.bytes);
      return (answer.json as { results: LineResult[] }).results;
    });
    this.answers.noteEvents(lines, results);
  }

  #newMail(): Buffer {
    const n = this.#count++;
    const mail = Buffer.from(
      `From: sender@elsewhere.example\r\nTo: ${BOOKS}\r\nSubject: ${this.name} ${n}\r\n` +
        `Message-ID: <${this.name}.${n}@elsewhere.example>\r\n\r\nMail ${n}.\r\n.\r\n${'x'.repeat(this.random.below(2000))}\r\n`,
    );
    this.#mails.push(mail);
    return mail;
  }

  async #sendMail(raw: Buffer): Promise<void> {
    const answer = await this.#insist(2, async ({ smtp }) => {
      const transport = createTransport({ ...smtp, ignoreTLS: true, socketTimeout: PATIENCE_MS });
      try {
        const sent = await transport.sendMail({
          envelope: { from: 'sender@elsewhere.example', to: [BOOKS, PEOPLE] },
          raw,
        });
        return sent.response;
      } catch (error) {
        const { responseCode, message } = error as { responseCode?: number; message: string };
        if (responseCode !== undefined) this.answers.noteRefused(responseCode, message);
        return undefined;
      } finally {
        transport.close();
      }
    });
    this.answers.noteMail(raw, 2, answer);
  }

  #newHook(): string {
    const id = `${this.name}-hook-${this.#count++}`;
    this.#hooks.push(id);
    return id;
  }

  async #sendHook(id: string): Promise<void> {
    const result = await this.#insist(1, async (waybill) => {
      const answer = await waybill.call('POST', '/v1/hooks/default/shop', {
        token: null,
        json: {
          type: 'shop.sold',
          key: id,
          customer: customerOf(id),
        },
        headers: { 'webhook-id': id },
        withinMs: PATIENCE_MS,
      });
      return answer.status < 300 ? (answer.json as LineResult) : this.#refused(answer.status, answer.bytes);
    });
    this.answers.noteHook(id, result);
  }

  async #orderSomething(): Promise<void> {
    await this.#order(this.#again([...this.answers.orders]) ?? `${this.name}-order-${this.#count++}`);
    await pause(ORDER_MS, undefined, { signal: this.#stopping.signal }).catch(() => undefined);
  }

  async #order(id: string): Promise<void> {
    await this.doors.orders.publish(id, JSON.stringify({ key: id, customer: customerOf(id) }));
    this.answers.orders.add(id);
  }

  #refused(status: number, body: Buffer): undefined {
    this.answers.noteRefused(status, body.toString());
  }

  /** Again and again, at whatever process is there, until there is an answer. */
  async #insist<T>(arrivals: number, ask: (waybill: Waybill) => Promise<T | undefined>): Promise<T> {
    const deadline = performance.now() + INSIST_MS;
    for (;;) {
      const waybill = this.doors.ingress();
      if (waybill) {
        const answer = await ask(waybill).catch(() => undefined);
        if (answer !== undefined) return answer;
        this.answers.lost += arrivals;
      }
      if (performance.now() > deadline || !this.#insists) throw new Error('no process took anything');
      await pause(AGAIN_MS);
    }
  }

  /** Assigns or closes one message that waits, under one idempotency key until it is answered. */
  async #decideSomething(): Promise<void> {
    const found = await this.#waiting();
    if (!found) {
      await pause(AGAIN_MS);
      return;
    }
    const action = this.random.below(2) === 0 ? 'assign' : 'close';
    const what = action === 'assign' ? { targets: ['archive'] } : { reason: 'read' };
    const deadline = performance.now() + INSIST_MS;
    while (performance.now() < deadline && this.#insists) {
      const answer = await this.doors
        .web()
        ?.call('POST', `/v1/messages/${found.id}/${action}`, {
          json: { version: found.version, ...what },
          headers: { 'idempotency-key': `${this.name}-${found.id}` },
          withinMs: PATIENCE_MS,
        })
        .catch(() => undefined);
      if (answer && answer.status < 500) {
        this.answers.noteDecision(found.id, action, answer.status, answer.bytes.toString());
        return;
      }
      await pause(AGAIN_MS);
    }
    throw new Error('nobody took a decision');
  }

  async #waiting(): Promise<{ id: string; version: number } | undefined> {
    const listed = await this.doors
      .web()
      ?.call('GET', '/v1/messages?state=waiting&limit=20', { withinMs: PATIENCE_MS })
      .catch(() => undefined);
    if (listed?.status !== 200) return undefined;
    const { items } = listed.json as { items: { id: string; version: number }[] };
    return items.find(({ id }) => !this.answers.decisions.has(id));
  }
}

/**
 * A process that was stopped by a signal answers nothing for a while; one that is gone says so at once. As short as a load
 * balancer's: with half a minute all clients could wait for the one that is stopped, one time in ten.
 */
const PATIENCE_MS = 6_000;
/** How long a client insists before it is the run that fails. */
const INSIST_MS = 120_000;

/** The same for the same id. */
function customerOf(id: string): string {
  return `customer-${Number.parseInt(sha256(id).slice(0, 4), 16) % ACCOUNTS}`;
}

function taken(event: Original, variant: number): SentLine {
  return { text: eventText(event, variant), key: event.key, expect: 'taken' };
}

/** Its time lies before anything that could be told apart. */
function old(event: Original): SentLine {
  const key = `old-${event.key}`;
  return { text: eventText({ ...event, key }, 0, '2001-02-03T04:05:06Z'), key, expect: 'expired' };
}

function eventText({ key, account, type }: Original, variant: number, time?: string): string {
  return JSON.stringify({
    specversion: '1.0',
    id: key,
    source: '/faults',
    type,
    subject: account,
    ...(time !== undefined && { time }),
    data: { key, variant, amount: 12.5, note: 'x'.repeat(40) },
  });
}
