import pg from 'pg';
import { expect, test } from 'vitest';
import { Wire } from '../ingress/smtp-harness.js';
import { untilSettled } from '../support/checker.js';
import { seeded } from '../support/seeded.js';
import { install, type Waybill } from '../support/waybill.js';

/* The same thousand messages under two rule sets, and what a backtest under the first says of the second. */

const CONFIG = {
  smtp: { hostname: 'mx.whole.example' },
  sources: {
    feed: { kind: 'events', schema: { type: 'object', properties: { amount: { type: 'number' } } } },
    shop: { kind: 'webhook', verify: { scheme: 'none' } },
    mail: { kind: 'mail', addresses: ['@whole.example'] },
  },
  targets: { erp: { kind: 'pull' }, crm: { kind: 'pull' }, people: { kind: 'pull' } },
};

const BEFORE = `
rules:
  - { name: mail, when: { kind: mail }, then: { targets: people } }
  - { name: amounts, when: { data.amount: { exists: true } }, then: { targets: [erp, crm] } }
`;

/** By bodies and by what is wrong with them. */
const AFTER = `
rules:
  - { name: cut, when: { rung: { numeric: [">", 1] } }, then: { targets: people } }
  - { name: broken, when: { defects: [encoding_unknown, charset_wrong, boundary_missing, field_set_aside] }, then: { targets: crm } }
  - { name: urgent, when: { $or: [{ text: { matches: "(?i)^urgent|\\\\beilt\\\\b" } }, { data.note: { wildcard: "*urgent*" } }] }, then: { targets: [people, crm] } }
  - { name: invoices, when: { subject: { prefix: Invoice }, text: { anything-but: { wildcard: "*paid*" } } }, then: { targets: erp } }
  - { name: large, when: { data.amount: { numeric: [">", 50.005] } }, then: { targets: erp } }
  - { name: by-hand, when: { headers.content-type: { prefix: text/ } }, then: { targets: people } }
  - { name: empty, when: { kind: event, data.amount: { exists: false } }, then: { close: nothing in it } }
`;

interface Sent {
  readonly events: readonly string[];
  readonly hooks: readonly (readonly [type: string, body: string])[];
  readonly mails: readonly Buffer[];
}

const NOTES = ['plain', 'this is urgent', 'Urgent: read', 'es eilt sehr', 'paid', 'wheile'];

function thousand(): Sent {
  const random = seeded(21);
  const note = () => random.pick(NOTES);
  const amount = () => `${random.below(100)}.${random.below(10)}${random.below(10)}`;
  const events = Array.from({ length: 600 }, (_, n) => {
    const data = random.pick([
      `{"amount":${amount()},"note":"${note()}"}`,
      `{"note":"${note()}"}`,
      `{"amount":"${amount()}","note":"${note()}"}`,
      `[{"amount":${amount()}},{"amount":${amount()}}]`,
    ]);
    return `{"specversion":"1.0","id":"e-${n}","source":"/whole","type":"t","subject":"a-${n % 50}","data":${data}}`;
  });
  const hooks = Array.from({ length: 200 }, (_, n) => {
    return random.pick([
      ['application/json', `{"n":${n},"amount":${amount()},"note":"${note()}"}`],
      ['application/json', `{"n":${n},"amount":${amount()}`],
      ['application/x-www-form-urlencoded', `n=${n}&amount=${amount()}&note=${note()}`],
      ['text/plain', `${note()} ${n}`],
    ] as const);
  });
  const mails = Array.from({ length: 200 }, (_, n) => {
    const head = `From: a@elsewhere.example\r\nMessage-ID: <m-${n}@elsewhere.example>\r\nSubject: ${random.pick(['Invoice', 'Hello'])} ${n}\r\n`;
    const text = `${note()}\r\nand more of ${n}\r\n`;
    const body = random.pick([
      `\r\n${text}`,
      `Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: x-none\r\n\r\n${text}`,
      `Content-Type: text/plain; charset=utf-8\r\n\r\n${text}\xff\xfe`,
      `Content-Type: multipart/mixed\r\n\r\n${text}`,
      `Content-Type: text/html\r\n\r\n<p>${text}</p>`,
    ]);
    return Buffer.from(`${head}${body}\r\n`, 'latin1');
  });
  return { events, hooks, mails };
}

async function send(waybill: Waybill, { events, hooks, mails }: Sent): Promise<void> {
  const sent = await waybill.call('POST', '/v1/events', {
    body: events.join('\n'),
    headers: { 'content-type': 'application/x-ndjson' },
  });
  expect(sent.status).toBe(202);
  for (const [type, body] of hooks) {
    const answer = await waybill.call('POST', '/v1/hooks/default/shop', { body, headers: { 'content-type': type } });
    expect(answer.status).toBeLessThan(300);
  }
  const wire = await Wire.greeted(waybill.smtp.port);
  for (const mail of mails) {
    await wire.envelope('a@elsewhere.example', 'box@whole.example');
    expect(await wire.body(mail)).toMatch(/^250 /);
  }
  wire.socket.end();
}

/** Where each message went, by the SHA-256 of its bytes, and its id. */
async function routed(databaseUrl: string): Promise<Map<string, { id: string; to: Set<string> }>> {
  const pool = new pg.Pool({ connectionString: databaseUrl, options: '-c search_path=waybill' });
  try {
    const { rows } = await pool.query<{ key: string; id: string; to: string[] }>(
      `select encode(m.sha256, 'hex') as key, m.channel || '-' || m.sequence as id,
         coalesce((select array_agg(t.name) from delivery d join target t using (tenant) where t.id = d.target
           and d.tenant = m.tenant and d.channel = m.channel and d.sequence = m.sequence), array[s.state]) as to
       from message m left join standing s using (tenant, channel, sequence)`,
    );
    expect(new Set(rows.map(({ key }) => key)).size).toBe(rows.length);
    return new Map(rows.map(({ key, id, to }) => [key, { id, to: new Set(to) }]));
  } finally {
    await pool.end();
  }
}

test('a backtest of a thousand messages, by bodies and defects, equals their real re-routing', async () => {
  const all = thousand();
  const settled = { mayWait: ['default/erp', 'default/crm', 'default/people'] };
  const one = await install({ config: CONFIG, rules: BEFORE });
  const waybill = await one.start();
  await send(waybill, all);
  await untilSettled(one.databaseUrl, settled);
  const answer = await waybill.call('POST', '/v1/rules/backtest', { json: { text: AFTER } });
  const result = JSON.parse(answer.bytes.toString().trimEnd().split('\n').at(-1) ?? '');

  const other = await install({ config: CONFIG, rules: AFTER });
  await send(await other.start(), all);
  await untilSettled(other.databaseUrl, settled);
  const before = await routed(one.databaseUrl);
  const after = await routed(other.databaseUrl);
  expect([before.size, after.size]).toEqual([1000, 1000]);

  const differences = (place: string) => {
    const ids = (had: typeof before, has: typeof before) =>
      [...before]
        .filter(([key]) => has.get(key)?.to.has(place) && !had.get(key)?.to.has(place))
        .map(([, { id }]) => id);
    return { added: ids(before, after), removed: ids(after, before) };
  };
  const told = (of: { added: number; removed: number }) => ({ added: of.added, removed: of.removed });
  const counted = ({ added, removed }: ReturnType<typeof differences>) => ({
    added: added.length,
    removed: removed.length,
  });
  expect(result).toMatchObject({ event: 'result', messages: 1000, gone: 0 });
  for (const place of ['erp', 'crm', 'people']) {
    const real = differences(place);
    const said = result.targets.find(({ target }: { target: string }) => target === place);
    expect([place, told(said)]).toEqual([place, counted(real)]);
    expect(counted(real).added + counted(real).removed).toBeGreaterThan(50);
    expect(real.added).toEqual(expect.arrayContaining(said.examples.added));
    expect(real.removed).toEqual(expect.arrayContaining(said.examples.removed));
  }
  expect(told(result.waiting)).toEqual(counted(differences('waiting')));
  expect(told(result.closed)).toEqual(counted(differences('closed')));
  for (const { rule, hits } of result.rules) expect([rule, hits > 0]).toEqual([rule, true]);
  const changed = [...before].filter(([key, { to }]) => {
    const now = after.get(key)?.to ?? new Set();
    return to.size !== now.size || [...to].some((place) => !now.has(place));
  });
  expect(result.changed).toBe(changed.length);
}, 180_000);
