import { expect, it } from 'vitest';
import { createRender } from '../../src/app/render.js';
import { type Target, targetDefinitionSchema } from '../../src/delivery/target.js';
import type { StoredMessage } from '../../src/message/message.js';
import { EMPTY_VIEW } from '../../src/message/view.js';
import { canonicalMessage } from '../../src/routing/canonical.js';

const raw = Buffer.alloc(1_000_000, 'x');
const stored: StoredMessage = {
  tenant: 1,
  channel: 7,
  sequence: 12,
  source: 2,
  kind: 'mail',
  account: 'customer-1',
  type: null,
  externalId: null,
  value: null,
  eventTime: null,
  arrivedAt: Date.UTC(2026, 0, 2),
  peer: '192.0.2.1',
  meta: '{"from":"a@example.org","to":["b@example.com"]}',
  sha256: Buffer.alloc(32),
  raw,
};
const ready = {
  message: stored,
  view: EMPTY_VIEW,
  thread: null,
  canonical: canonicalMessage(
    stored,
    { tenant: 'one', source: 'mail', hostname: 'mx.example.com', extractors: [] },
    EMPTY_VIEW,
  ),
};
const delivery = {
  channel: 7,
  epoch: 1,
  number: 3,
  what: 'message',
  reason: null,
  rung: 0,
  decision: { by: 'rules', set: 1, rules: [] },
  late: false,
  replay: false,
  portion: null,
  attempts: 0,
} as const;

function target(definition: object): Target {
  const tenant = { id: 1, name: 'one', channels: 16 };
  return { id: 1, name: 'target', tenant, definition: targetDefinitionSchema.parse(definition), paused: null };
}

const parts = new Map([[2, Buffer.from('the second')]]);
const render = createRender(
  () => '',
  async () => new Map(),
  async (_, n) => parts.get(n) ?? null,
);

it('keeps the bytes of a mail for nobody but an e-mail target: others are sent for as long as a broker takes', async () => {
  const queued = await render(target({ kind: 'queue' }), ready, delivery);
  expect(queued?.mail).toBeNull();
  expect(queued?.body.length).toBeLessThan(2_000);
  const email = { kind: 'email', to: ['desk@example.com'], from: 'waybill@example.net', server: 'smtp://192.0.2.9' };
  const mailed = await render(target(email), ready, delivery);
  expect(mailed?.mail).toEqual({ sender: 'a@example.org', raw });
});

it('makes a portion of what can be read, and nothing of what can not', async () => {
  const part = (n: number, type: string) => ({
    n,
    path: String(n),
    name: `${n}.txt`,
    type,
    size: 3,
    sha256: '',
    inline: false,
    contentId: null,
  });
  const view = { ...EMPTY_VIEW, text: 'secret', parts: [part(2, 'text/plain'), part(3, 'text/plain')] };
  const names = { tenant: 'one', source: 'mail', hostname: 'mx.example.com', extractors: [] };
  const mail = { message: stored, view, thread: null, canonical: canonicalMessage(stored, names, view) };
  const of = (definition: object, n: number) => render(target(definition), mail, { ...delivery, portion: { part: n } });
  const raw = await of({ kind: 'queue', body: 'raw' }, 2);
  expect([raw?.contentType, String(raw?.body), raw?.only]).toEqual([
    'text/plain',
    'the second',
    { text: 'part=2', name: '2.txt' },
  ]);
  const message = await of({ kind: 'queue', inlineParts: true }, 2);
  expect(message?.only).toEqual({ text: 'part=2', name: null });
  expect(JSON.parse(String(message?.body)).parts).toMatchObject([
    { n: 2, content: Buffer.from('the second').toString('base64') },
  ]);
  expect(await of({ kind: 'queue', body: 'raw' }, 3)).toBeNull();
  const notice = await render(target({ kind: 'queue' }), mail, { ...delivery, what: 'void', portion: { part: 3 } });
  expect(notice?.only).toBeUndefined();
});
