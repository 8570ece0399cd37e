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
