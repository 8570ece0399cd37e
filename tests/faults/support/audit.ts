import pg from 'pg';
import { type Books, check, compareReceipts, type Receipt } from '../../support/checker.js';
import type { Answers } from './answers.js';
import { BOOKS, HOOK_TARGETS, MAIL_TARGETS, OTHER, TYPES, typeOf } from './clients.js';

/*
 * The books, what senders were told and what consumers got, held against each other. Built on the independent checker;
 * like that it shares no code with the program.
 */

export interface Evidence {
  readonly databaseUrl: string;
  readonly answers: Answers;
  /** What each target's consumer got, by `<tenant>/<target>`. */
  readonly receipts: ReadonlyMap<string, readonly Receipt[]>;
  /** Targets whose first receipts come in the order of their numbers. */
  readonly inOrder: readonly string[];
  /** SQL that is run first and undone: the audit's own test makes the books wrong with it. */
  readonly tamper?: string;
}

export interface Findings {
  readonly violations: readonly string[];
  readonly summary: Readonly<Record<string, number>>;
}

type Broken = (sentence: string) => void;

export async function audit(evidence: Evidence): Promise<Findings> {
  const { databaseUrl, answers, receipts, tamper } = evidence;
  const books = await check(databaseUrl, tamper === undefined ? {} : { tamper });
  const found: string[] = [];
  const broken: Broken = (sentence) => {
    if (found.length < 50) found.push(sentence);
  };
  checkAcknowledged(books, answers, broken);
  checkOrders(books, answers, broken);
  checkCounts(books, answers, broken);
  checkWays(books, answers, broken);
  await checkSetAside(databaseUrl, tamper, answers, broken);
  let repeats = 0;
  for (const [name, got] of receipts) {
    const [tenant = '', target = ''] = name.split('/');
    const compared = compareReceipts(books, { tenant, target }, got);
    for (const sentence of compared.violations) broken(sentence);
    repeats += compared.repeats;
    if (evidence.inOrder.includes(name)) for (const sentence of outOfOrder(name, got)) broken(sentence);
  }
  const counted = books.counted.get('default');
  const { told, lost } = answers;
  return {
    violations: [...answers.violations, ...found, ...books.violations],
    summary: {
      sequenced: counted?.sequenced ?? 0,
      duplicates: counted?.duplicates ?? 0,
      conflicts: counted?.conflicts ?? 0,
      expired: counted?.expired ?? 0,
      rejected: told.rejected,
      orders: answers.orders.size,
      unanswered: lost,
      decided: answers.decisions.size,
      deliveries: books.deliveries.size,
      repeats,
    },
  };
}

/** Everything acknowledged is there, once, where its answer said, with the bytes its verdict spoke of; and nothing else is. */
function checkAcknowledged(books: Books, answers: Answers, broken: Broken): void {
  const messages = [...books.messages.values()].filter(({ tenant }) => tenant === 'default');
  const events = messages.filter(({ kind }) => kind === 'event');
  const byKey = new Map(events.map((one) => [one.externalId ?? '', one]));
  if (byKey.size !== events.length) broken(`${events.length} events are stored under ${byKey.size} keys`);
  for (const [key, known] of answers.events) {
    const stored = byKey.get(key);
    if (!stored) {
      broken(`${key} was acknowledged and is not there`);
      continue;
    }
    if (stored.id !== known.message) broken(`${key} was said to be ${known.message}, and is ${stored.id}`);
    for (const digest of known.same)
      if (digest !== stored.sha256) broken(`${key} was taken for the same, and other bytes are stored`);
    for (const digest of known.other)
      if (digest === stored.sha256) broken(`${key} was taken for a conflict with the very same`);
  }
  for (const key of byKey.keys()) if (!answers.events.has(key)) broken(`event ${key} is stored, and nobody sent it`);
  for (const key of [...answers.expired, ...answers.rejected])
    if (byKey.has(key)) broken(`${key} was expired or rejected, and is stored`);

  const mails = messages.filter(({ kind }) => kind === 'mail');
  for (const [digest, ids] of answers.mails) {
    const stored = mails.filter((one) => one.sha256 === digest).map(({ id }) => id);
    if (same(stored, [...ids])) continue;
    broken(`a mail was said to be ${[...ids]}, and is stored as ${stored}`);
  }
  if (mails.length !== answers.mails.size * 2)
    broken(`${answers.mails.size} mails to two recipients are ${mails.length} messages`);

  const hooks = messages.filter(({ kind }) => kind === 'webhook');
  const byHook = new Map(hooks.map((one) => [one.externalId ?? '', one.id]));
  for (const [id, message] of answers.hooks)
    if (byHook.get(id) !== message) broken(`webhook ${id} was said to be ${message}, and is ${byHook.get(id)}`);
  if (hooks.length !== answers.hooks.size) broken(`${answers.hooks.size} webhooks are ${hooks.length} messages`);
}

/** Whatever the other tenant's queue took is stored once, however often it was given out. */
function checkOrders(books: Books, answers: Answers, broken: Broken): void {
  const stored = [...books.messages.values()].filter(({ tenant }) => tenant === OTHER.tenant);
  const ids = new Set(stored.map(({ externalId }) => externalId ?? ''));
  if (ids.size !== stored.length) broken(`${ids.size} orders are ${stored.length} messages`);
  for (const id of answers.orders) if (!ids.has(id)) broken(`order ${id} was in the queue, and is not stored`);
  for (const id of ids) if (!answers.orders.has(id)) broken(`order ${id} is stored, and was not in the queue`);
}

/**
 * received = sequenced + duplicates + conflicts + expired + rejected. What was answered is counted exactly as it was
 * answered; what was sent and never answered may have been counted once or not at all.
 */
function checkCounts(books: Books, answers: Answers, broken: Broken): void {
  const counted = books.counted.get('default') ?? { sequenced: 0, duplicates: 0, conflicts: 0, expired: 0 };
  const { told, lost } = answers;
  const pairs = [
    ['sequenced', counted.sequenced, told.sequenced],
    ['duplicates', counted.duplicates, told.duplicate],
    ['conflicts', counted.conflicts, told.conflict],
    ['expired', counted.expired, told.expired],
  ] as const;
  let more = 0;
  for (const [what, inBooks, inAnswers] of pairs) {
    if (inBooks < inAnswers) broken(`${inAnswers} were answered to be ${what}, and ${inBooks} are counted`);
    more += inBooks - inAnswers;
  }
  if (more > lost) broken(`${more} arrivals are counted that nobody was told of, and only ${lost} were not answered`);
}

/** Each message went where rules and people sent it, once each: a second number would be a second bill. */
function checkWays(books: Books, answers: Answers, broken: Broken): void {
  const ways = new Map<string, string[]>();
  for (const { tenant, channel, sequence, target } of books.deliveries.values()) {
    const id = `${tenant}/${channel}-${sequence}`;
    const way = ways.get(id);
    if (way) way.push(target);
    else ways.set(id, [target]);
  }
  for (const [name, message] of books.messages) {
    const went = ways.get(name) ?? [];
    const wanted = [...wantedTargets(message)];
    if (message.tenant === 'default' && answers.decisions.get(message.id) === 'assign') wanted.push('archive');
    if (!same(went, wanted)) broken(`${name} was to go to [${wanted}], and went to [${went}]`);
  }
}

function wantedTargets({ kind, account, externalId }: { kind: string; account: string; externalId: string | null }) {
  switch (kind) {
    case 'event':
      return TYPES[typeOf(externalId ?? '')];
    case 'mail':
      return account === BOOKS ? MAIL_TARGETS : [];
    case 'webhook':
      return HOOK_TARGETS;
    case 'amqp':
      return [OTHER.target];
    default:
      throw new RangeError(kind);
  }
}

/** What expired or conflicted is kept whole, each content once, and counted as often as it came. */
async function checkSetAside(
  databaseUrl: string,
  tamper: string | undefined,
  answers: Answers,
  broken: Broken,
): Promise<void> {
  const client = new pg.Client({ connectionString: databaseUrl, options: '-c search_path=waybill,public' });
  await client.connect();
  try {
    await client.query('begin isolation level repeatable read');
    if (tamper !== undefined) await client.query(tamper);
    const { rows } = await client.query<{ cause: string; external_id: string; sha256: Buffer; count: number }>(
      `select q.cause, q.external_id, q.sha256, q.count from quarantine q join tenant t on t.id = q.tenant
       where t.name = 'default'`,
    );
    const expired = new Set(rows.filter(({ cause }) => cause === 'expired').map((row) => row.external_id));
    for (const key of answers.expired) if (!expired.has(key)) broken(`${key} expired, and is not kept`);
    const kept = new Set(rows.filter(({ cause }) => cause === 'conflict').map((row) => row.sha256.toString('hex')));
    for (const [key, { other }] of answers.events)
      for (const digest of other) if (!kept.has(digest)) broken(`a conflict with ${key} is not kept`);
    const decided = await client.query<{ id: string; action: string; plan: number | null }>(
      `select channel || '-' || sequence as id, action, plan from decision`,
    );
    const decisions = new Map(decided.rows.map((row) => [row.id, row]));
    if (decisions.size !== decided.rows.length) broken('a message was decided about twice');
    for (const [id, action] of answers.decisions) {
      const row = decisions.get(id);
      if (row?.action !== action) broken(`${id} was decided to ${action}, and has ${row?.action}`);
      else if (row.plan === null) broken(`${action} of ${id} was not carried out`);
    }
  } finally {
    await client.end();
  }
}

/**
 * The first receipts of each channel come in the order of their numbers; whether all come is for others to say. Notices
 * may come later, and so may what the broker had given to a connection that broke: it puts that back as it likes.
 */
function outOfOrder(target: string, receipts: readonly Receipt[]): string[] {
  const wrong: string[] = [];
  const last = new Map<string, number>();
  const seen = new Set<string>();
  for (const { epoch, channel, number, what, redelivered = false } of receipts) {
    const name = `${epoch}/${channel}-${number}`;
    if (what === 'void' || seen.has(name)) continue;
    seen.add(name);
    if (redelivered) continue;
    const line = `${epoch}/${channel}`;
    const before = last.get(line) ?? 0;
    if (number < before) wrong.push(`${target}: ${name} came after ${before}`);
    last.set(line, number);
  }
  return wrong;
}

function same(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && [...one].sort().join() === [...other].sort().join();
}
