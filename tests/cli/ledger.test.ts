import type { Response } from 'express';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { cli, type Recorder, startRecorder } from './harness.js';

let server: Recorder;
beforeAll(async () => {
  server = await startRecorder();
});
beforeEach(() => {
  server.seen.length = 0;
});
afterAll(() => server.close());

function lines(response: Response, ...events: object[]): void {
  response.type('application/x-ndjson').send(events.map((event) => `${JSON.stringify(event)}\n`).join(''));
}

const GAP = { message: '3-7', reason: 'missing', account: null, time: null, since: '2026-03-01T00:00:00Z', asked: 2 };

describe('waybill ledger', () => {
  it('lists what is not counted, and asks for it again', async () => {
    server.answer = (request, response) =>
      void response.json(request.method === 'POST' ? { healed: 1, busy: false } : { items: [GAP], next: null });
    expect((await cli(server, ['ledger', 'gaps'])).stdout).toContain('3-7');
    expect((await cli(server, ['ledger', 'gaps', '--ask'])).stdout).toBe('1 of 1 are counted now\n');
    server.answer = (_, response) => void response.json({ items: [], next: null });
    expect((await cli(server, ['ledger', 'gaps', '--ask'])).stdout).toBe('everything is counted\n');
  });

  it('is made anew, and says what differs', async () => {
    const result = { event: 'result', ok: true, swapped: true, messages: 1200, differences: 0 };
    server.answer = (_, response) => lines(response, { event: 'progress', done: 1200, total: 1200 }, result);
    const said = '1,200 messages counted; nothing differs; the new ledger is in force\n';
    expect(await cli(server, ['ledger', 'rebuild'])).toMatchObject({ code: 0, stdout: said });
    const difference = { event: 'difference', account: 'acme', meter: 'gb', hours: 2, eventsBefore: 3, eventsAfter: 4 };
    const refused = { ...result, ok: false, swapped: false, differences: 1 };
    server.answer = (_, response) => lines(response, difference, refused);
    const { code, stdout, stderr } = await cli(server, ['ledger', 'rebuild']);
    expect([code, stdout.split('\n')[0]]).toEqual([1, 'acme, gb: 2 hours differ, 3 events before and 4 now']);
    expect(stderr).toContain('--accept-differences');
    server.answer = (_, response) => lines(response, difference);
    expect((await cli(server, ['ledger', 'rebuild'])).stderr).toContain('cut off');
  });
});

describe('waybill statement', () => {
  const line = {
    kind: 'usage',
    what: 'gb',
    dimensions: { region: 'eu' },
    period: null,
    quantity: '12.5',
    unit: 'GB',
    amount: '11.25',
  };
  const statement = { currency: 'EUR', total: '11.25', complete: true, lines: [line] };

  it('shows its lines and its total, or gives them as CSV', async () => {
    server.answer = (request, response) =>
      void (request.headers.accept === 'text/csv'
        ? response.type('text/csv').send('kind,what\r\n')
        : response.json({ state: 'final', hash: 'ab', statement }));
    const { stdout } = await cli(server, ['statement', 'acme/1', '2026-03']);
    expect(stdout).toContain('region=eu');
    expect(stdout).toContain('total 11.25 EUR, final, complete\nsha256 ab\n');
    expect((await cli(server, ['statement', 'acme/1', '2026-03', '--csv'])).stdout).toBe('kind,what\r\n');
    expect(server.seen[0]?.path).toBe('/v1/accounts/acme%2F1/statements/2026-03');
  });
});

describe('waybill ledger held', () => {
  const held = { message: '3-7', account: 'acme', meters: ['gb'], time: '2026-03-01T00:00:00Z', period: '2026-02' };

  it('lists what is held, and says what becomes of it', async () => {
    server.answer = (request, response) =>
      void response.json(request.method === 'POST' ? { id: '3-9', again: false } : { items: [held], next: null });
    expect((await cli(server, ['ledger', 'held', '--account', 'acme'])).stdout).toContain('2026-02');
    expect(server.seen[0]?.path).toBe('/v1/ledger/held?limit=50&account=acme');
    expect((await cli(server, ['ledger', 'held', 'accept', '3-7', '--why', 'it is right'])).stdout).toBe(
      'said as 3-9\n',
    );
    expect(server.seen[1]).toMatchObject({ path: '/v1/ledger/held/3-7/accept' });
    expect(String(server.seen[1]?.body)).toBe('{"why":"it is right"}');
    server.answer = (_, response) => void response.json({ id: '3-9', again: true });
    const { stdout } = await cli(server, ['ledger', 'held', 'discard', '3-7', '--why', 'x']);
    expect(stdout).toBe('said before, by 3-9\n');
    server.answer = (_, response) => void response.json({ items: [], next: null });
    expect((await cli(server, ['ledger', 'held'])).stdout).toBe('nothing is held\n');
    expect((await cli(server, ['ledger', 'held', 'accept', '3-7'])).code).toBe(2);
  });
});

describe('waybill backfill', () => {
  const backfill = {
    ...{ id: 4, state: 'open', from: '2021-01-01T00:00:00.000Z', to: '2022-01-01T00:00:00.000Z', account: null },
    ...{ openedBy: 'anna', why: 'moved', openedAt: '2026-03-01T00:00:00.000Z', sent: 1200, overdue: true },
    ...{ read: 1100, counted: 1000, known: 90, uncountable: 10, unmetered: 0 },
  };

  it('is opened, listed, shown, closed and reverted', async () => {
    server.answer = (_, response) => void response.json(backfill);
    const range = ['--from', '2021-01-01T00:00:00Z', '--to', '2022-01-01T00:00:00Z'];
    const { stdout } = await cli(server, ['backfill', 'open', ...range, '--why', 'moved']);
    expect(stdout).toBe(
      "backfill 4 is open; 1,200 events sent, 1,100 read by the ledger: 1,000 counted, 90 known already, 10 can't be counted, 0 of no meter\n",
    );
    expect(JSON.parse(String(server.seen[0]?.body))).toEqual({
      ...{ from: '2021-01-01T00:00:00Z', to: '2022-01-01T00:00:00Z', why: 'moved' },
    });
    await cli(server, ['backfill', 'show', '4']);
    await cli(server, ['backfill', 'close', '4', '--adjust']);
    await cli(server, ['backfill', 'revert', '4', '--why', 'wrong']);
    expect(server.seen.slice(1).map(({ method, path, body }) => `${method} ${path} ${String(body)}`)).toEqual([
      'GET /v1/backfills/4 ',
      'POST /v1/backfills/4/close {"adjust":true}',
      'POST /v1/backfills/4/revert {"why":"wrong"}',
    ]);
    server.answer = (_, response) => void response.json({ items: [backfill], next: null });
    expect((await cli(server, ['backfill'])).stdout).toContain('open, overdue');
    server.answer = (_, response) => void response.json({ items: [], next: null });
    expect((await cli(server, ['backfill', '--account', 'acme'])).stdout).toBe('there is no backfill\n');
    expect((await cli(server, ['backfill', 'revert', '4'])).code).toBe(2);
  });

  it('is sent events of a file, and says which are not in', async () => {
    const results = [
      { index: 0, id: 'a', verdict: 'sequenced', message: '3-1' },
      { index: 1, id: 'b', verdict: 'rejected', message: null, code: 'outside_range', reason: 'The time is outside.' },
    ];
    server.answer = (_, response) => void response.status(422).json({ results });
    const input = '{"id":"a"}\n{"id":"b"}\n';
    const { code, stdout } = await cli(server, ['backfill', 'send', '4', '-'], { stdin: input });
    expect([code, stdout]).toEqual([
      1,
      '2 events: 1 sequenced, 1 rejected\n  event 2: rejected (outside_range): The time is outside.\n',
    ]);
    expect(server.seen[0]?.path).toBe('/v1/backfills/4/events');
  });
});
