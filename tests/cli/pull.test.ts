import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { until } from '../support/until.js';
import { cli, problem, type Recorder, running, startRecorder } from './harness.js';

let server: Recorder;
/** Replies to pulls, one after another; then nothing any more. */
let batches: string[];
let settled: (ids: readonly string[]) => unknown[];

beforeAll(async () => {
  server = await startRecorder();
});
afterAll(() => server.close());
beforeEach(() => {
  server.seen.length = 0;
  batches = [];
  settled = (ids) => ids.map((id) => ({ id, result: 'acked' }));
  server.answer = ({ path, body }, response) => {
    if (path.endsWith('/pull')) response.type('json').end(batches.shift() ?? '{"lease":null,"deliveries":[]}');
    else response.json({ results: settled((JSON.parse(body.toString()) as { ids: string[] }).ids) });
  };
});

const delivery = (id: string, rest: string) =>
  `{"id":"${id}","messageId":"m","type":"order.placed","headers":{"waybill-account":"cust-1"},"contentType":"application/json","attempt":1,"leasedUntil":"t",${rest}}`;
const batch = (...deliveries: string[]) => `{"lease":"00ff","deliveries":[${deliveries.join(',')}]}`;
const calls = () => server.seen.map(({ path, body }) => [path, JSON.parse(body.toString())]);

describe('pull', () => {
  it('shows what waits, with its digits, and then settles it', async () => {
    batches = [
      batch(
        delivery('1.a.7-1', '"body":{"n":1.000,"text":"\\u001b[2J"}'),
        delivery(
          '1.a.7-2',
          `"encoding":"base64","body":"${Buffer.from('Subject: x\r\n\r\n  Hello').toString('base64')}"`,
        ),
      ),
    ];
    const { code, stdout, stderr } = await cli(server, ['pull', 'archive', '--max', '2']);
    expect(stdout).toBe(`1.a.7-1 order.placed cust-1 application/json
  {
    "n": 1.000,
    "text": "\\u001b[2J"
  }
1.a.7-2 order.placed cust-1 application/json
  Subject: x

    Hello
`);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(calls()).toEqual([
      ['/v1/targets/archive/pull', { max: 2, wait: 0 }],
      ['/v1/targets/archive/ack', { ids: ['1.a.7-1', '1.a.7-2'], lease: '00ff' }],
    ]);
  });

  it('gives one line of JSON for each delivery with --json', async () => {
    const deliveries = [
      delivery('1.a.7-1', '"body":{"n":12345678901234567890.10}'),
      delivery('1.a.7-2', '"body":null'),
    ];
    batches = [batch(...deliveries)];
    expect((await cli(server, ['--json', 'pull', 'archive'])).stdout).toBe(
      deliveries.map((one) => `${one}\n`).join(''),
    );
  });

  it('gives back what it showed with --keep', async () => {
    batches = [batch(delivery('1.a.7-1', '"body":1'))];
    settled = (ids) => ids.map((id) => ({ id, result: 'returned' }));
    const { code } = await cli(server, ['pull', 'archive', '--keep']);
    expect(code).toBe(0);
    expect(calls()[1]).toEqual(['/v1/targets/archive/nack', { ids: ['1.a.7-1'], lease: '00ff' }]);
  });

  it('ends quietly when nobody reads on, and settles nothing that was not shown', async () => {
    batches = [batch(delivery('1.a.7-1', '"body":1'))];
    const ran = await cli(server, ['pull', 'archive'], { seenEnough: true });
    expect(ran).toEqual({ code: 1, stdout: '', stderr: '' });
    expect(calls().map(([path]) => path)).toEqual(['/v1/targets/archive/pull']);
  });

  it('says when nothing waits, and settles nothing', async () => {
    expect(await cli(server, ['pull', 'archive', '--wait', '5'])).toEqual({
      code: 0,
      stdout: '',
      stderr: 'nothing waits for archive\n',
    });
    expect(calls()).toEqual([['/v1/targets/archive/pull', { max: 10, wait: 5 }]]);
  });

  it('has failed for what was no longer its own', async () => {
    batches = [batch(delivery('1.a.7-1', '"body":1'), delivery('1.a.7-2', '"body":2'))];
    settled = (ids) => ids.map((id, n) => ({ id, result: n === 0 ? 'acked' : 'lease_lost' }));
    const { code, stderr } = await cli(server, ['pull', 'archive']);
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: 'waybill: 1 deliveries were no longer ours and will be given out again.\n  1.a.7-2: lease_lost\n',
    });
  });

  it('goes on with --follow until it is told to end', async () => {
    const user = new AbortController();
    batches = [batch(delivery('1.a.7-1', '"body":1')), batch(delivery('1.a.7-2', '"body":2'))];
    const answer = server.answer;
    server.answer = (seen, response) => {
      // The third pull is one that waits.
      if (!seen.path.endsWith('/pull') || batches.length > 0) answer(seen, response);
    };
    const pull = running(server, ['pull', 'archive', '--follow'], { interrupted: user.signal });
    await until(() => server.seen.length === 5, 'the pull that waits');
    user.abort();
    expect(await pull.ended).toMatchObject({ code: 0, stderr: '' });
    expect(pull.stdout()).toMatch(/7-1 [\s\S]*7-2 /);
    expect(calls()[4]).toEqual(['/v1/targets/archive/pull', { max: 10, wait: 30 }]);
  });

  it('ends with 1 with --follow where it may not', async () => {
    server.answer = (_, response) => problem(response, 404, 'not_found', 'There is no such target.');
    const { code, stderr } = await cli(server, ['pull', 'nope', '--follow']);
    expect({ code, stderr }).toEqual({ code: 1, stderr: 'waybill: There is no such target. (not_found)\n' });
  });
});
