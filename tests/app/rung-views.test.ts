import { expect, it } from 'vitest';
import { createRungViews } from '../../src/app/rung-views.js';
import { type Content, ContentClosed, type ParseResult } from '../../src/content/content.js';
import { DEFAULT_LADDER } from '../../src/content/index.js';
import { EMPTY_VIEW } from '../../src/message/view.js';

type Parse = Content['parse'];
const READ: ParseResult = { ok: true, child: null, view: EMPTY_VIEW, tookMs: 0 };
const MAIL = { kind: 'mail', raw: Buffer.from('Subject: x\r\n\r\n'), meta: null, source: 1 } as const;

function viewsOf(parse: Parse, ladder = DEFAULT_LADDER) {
  return createRungViews({ parse }, ladder, () => null);
}

it('gives the ladder of a kind, as it is configured, without its last rung', () => {
  const views = viewsOf(async () => READ, ['full', 'headers', 'poison']);
  expect(views.of('mail').map(({ name }) => name)).toEqual(['full', 'headers']);
  for (const kind of ['event', 'webhook', 'amqp'] as const) {
    expect(views.of(kind).map(({ name }) => name)).toEqual(['full', 'schema', 'envelope', 'opaque']);
  }
});

it('reads a mail as a suspect, at the level of the rung', async () => {
  const jobs: Parameters<Parse>[0][] = [];
  const views = viewsOf(async (job) => {
    jobs.push(job);
    return READ;
  });
  expect(await views.view(1, MAIL, DEFAULT_LADDER.indexOf('headers'))).toBe(READ);
  expect(jobs).toMatchObject([{ raw: MAIL.raw, rung: 9, suspect: true, level: { reader: 'headers' } }]);
});

it('reads an event in place, where it fits a schema on the rung of that', async () => {
  const raw = Buffer.from('{"specversion":"1.0","data":{"amount":"many"}}');
  const views = createRungViews({ parse: async () => READ }, DEFAULT_LADDER, () => (data) => ({
    data,
    misfits: [{ pointer: '/amount', why: 'no number', removed: true }],
  }));
  const entry = { kind: 'event', raw, meta: null, source: 1 } as const;
  const codes = async (rung: number) => {
    const result = await views.view(1, entry, rung);
    return result !== 'busy' && result.ok ? result.view.defects.map(({ code }) => code) : result;
  };
  expect([await codes(0), await codes(1), await codes(2)]).toEqual([[], ['field_set_aside'], ['body_set_aside']]);
});

it('has one of a tenant read at a time, and the next after it, however that ended', async () => {
  const waiting: (() => void)[] = [];
  const failing: ((error: Error) => void)[] = [];
  const views = viewsOf(
    () =>
      new Promise((resolve, reject) => {
        waiting.push(() => resolve(READ));
        failing.push(reject);
      }),
  );
  const first = views.view(1, MAIL, 0);
  expect(await views.view(1, MAIL, 0)).toBe('busy');
  const theirs = views.view(2, MAIL, 0);
  for (const end of waiting.splice(0)) end();
  expect([await first, await theirs]).toEqual([READ, READ]);
  const second = views.view(1, MAIL, 0);
  failing.at(-1)?.(new Error('a fault'));
  await expect(second).rejects.toThrow('a fault');
  const third = views.view(1, MAIL, 0);
  for (const end of waiting.splice(0)) end();
  expect(await third).toBe(READ);
});

it('can read nothing when the children are being ended', async () => {
  const views = viewsOf(() => Promise.reject(new ContentClosed()));
  expect(await views.view(1, MAIL, 0)).toMatchObject({ ok: false, failure: 'unavailable' });
});
