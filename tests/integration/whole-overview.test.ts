import { expect, test } from 'vitest';
import { eventJson } from '../support/sending.js';
import { until } from '../support/until.js';
import { install, type Waybill } from '../support/waybill.js';

/* Figures over time, written by the program itself. */

const CONFIG = { sources: { feed: { kind: 'events' } }, targets: { archive: { kind: 'pull' } } };
const RULES = 'rules:\n  - { name: all, when: { kind: event }, then: { targets: archive } }\n';

const overviewOf = async (waybill: Waybill) => (await waybill.call('GET', '/v1/overview')).json;

test('figures are written down while it runs, and are there after it was killed', { timeout: 120_000 }, async () => {
  const site = await install({ config: CONFIG, rules: RULES });
  let waybill = await site.start();
  const sent = await waybill.call('POST', '/v1/events', {
    body: eventJson({ key: '1', account: 'a', type: 'usage' }),
    headers: { 'content-type': 'application/cloudevents+json' },
  });
  expect(sent.status).toBe(202);
  const counted = (one: { rates: { sequenced: number | null } }) => one.rates.sequenced !== null;
  // Two samples make a rate.
  await until(async () => counted(await overviewOf(waybill)), 'two samples to be written', 40_000);
  const overview = await overviewOf(waybill);
  expect(overview).toMatchObject({ verdict: 'All is well.', findings: [], totals: { sequenced: 1 } });
  expect(overview.targets).toMatchObject([{ name: 'archive', waiting: 1, more: false }]);
  const explained = await site.run(['explain', sent.json.results[0].message], {
    WAYBILL_URL: waybill.http,
    WAYBILL_TOKEN: site.adminToken,
  });
  expect([explained.code, explained.stdout]).toEqual([
    0,
    expect.stringContaining('told apart by its CloudEvents source'),
  ]);

  await waybill.kill();
  waybill = await site.start();
  await until(async () => counted(await overviewOf(waybill)), 'what was written before to be there');
  await waybill.stop();
});
