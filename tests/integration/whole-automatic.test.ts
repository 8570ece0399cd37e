import { expect, test } from 'vitest';
import { check, untilSettled } from '../support/checker.js';
import { type PulledDelivery, pullAll } from '../support/consumers.js';
import { type SentEvent, sendEvents } from '../support/sending.js';
import { until } from '../support/until.js';
import { install, type Waybill } from '../support/waybill.js';

/*
 * Automatic mode by what people decided before: systems 1.4, 1.5 and 1.7. What learns runs alone, between the others, so
 * that each time it is known what there is to learn.
 */

const CONFIG = {
  sources: { feed: { kind: 'events' } },
  targets: {
    erp: { kind: 'pull', automatic: { threshold: 0.6 } },
    crm: { kind: 'pull', automatic: { threshold: 0.8 } },
    archive: { kind: 'pull' },
  },
};
const WORKING = { WAYBILL_ROLES: 'ingress,owner,web' };
const LEARNING = { WAYBILL_ROLES: 'web,ledger' };
const NUMBERS = Array.from({ length: 40 }, (_, i) => i);

async function send(waybill: Waybill, events: readonly SentEvent[]): Promise<string[]> {
  return (await sendEvents(waybill, events)).map(({ message }) => message as string);
}

const event = (key: string, type: string): SentEvent => ({ key, type, account: 'acme' });

/** Once it is planned. */
async function planned(waybill: Waybill, id: string) {
  return until(async () => {
    const { json } = await waybill.call('GET', `/v1/messages/${id}`);
    return json.state === 'accepted' ? null : json;
  }, `${id} to be planned`);
}

async function decide(waybill: Waybill, id: string, action: string, wish: object): Promise<void> {
  const { version } = await planned(waybill, id);
  const answer = await waybill.call('POST', `/v1/messages/${id}/${action}`, { json: { version, ...wish } });
  expect([200, 202], answer.bytes.toString()).toContain(answer.status);
}

async function explain(waybill: Waybill, id: string) {
  await planned(waybill, id);
  return (await waybill.call('GET', `/v1/messages/${id}/explain`)).json;
}

async function learning(waybill: Waybill, target: string) {
  return (await waybill.call('GET', `/v1/targets/${target}/learning`)).json;
}

test('people assign, the program learns, and sends what strictly exceeds a target’s threshold', {
  timeout: 120_000,
}, async () => {
  const site = await install({ config: CONFIG });
  /** Until there is this version of what was learnt. */
  const learn = async (version: number) => {
    const learner = await site.start(LEARNING);
    const learnt = await until(
      async () => {
        const now = await learning(learner, 'erp');
        return now.model?.version === version ? now : null;
      },
      `version ${version} to be learnt`,
      30_000,
    );
    await learner.stop();
    return learnt;
  };

  const first = await site.start(WORKING);
  const orders = await send(
    first,
    NUMBERS.map((n) => event(`o${n}`, 'order.placed')),
  );
  const noises = await send(
    first,
    NUMBERS.map((n) => event(`n${n}`, 'noise.made')),
  );
  expect(await learning(first, 'erp')).toMatchObject({ on: false, why: 'needs 20 decisions, has 0', model: null });
  for (const [n, id] of orders.entries()) {
    // Seven orders in ten, older and newer alike.
    if (n % 10 < 7) await decide(first, id, 'assign', { targets: ['erp', 'crm'] });
    else await decide(first, id, 'close', { reason: 'not ours' });
  }
  for (const id of noises) await decide(first, id, 'close', { reason: 'noise' });
  await untilSettled(site.databaseUrl, { mayWait: ['default/erp', 'default/crm'] });
  await pullAll(first, 'erp');
  await first.stop();

  expect(await learn(1)).toMatchObject({
    automatic: { threshold: 0.6, decisions: 20 },
    on: true,
    model: { version: 1, decisions: 80 },
    chosen: 28,
    refused: 52,
    measured: { decisions: 20 },
  });

  // A restart keeps what was learnt. 1.4: both targets are as probable, and only one threshold is exceeded.
  const waybill = await site.start(WORKING);
  const [routed = '', unheard = ''] = await send(waybill, [event('new', 'order.placed'), event('news', 'noise.made')]);
  expect((await planned(waybill, routed)).state).toBe('routed');
  const story = await explain(waybill, routed);
  const [erp, crm] = ['erp', 'crm'].map((name) =>
    story.automatic.scores.find(({ target }: { target: string }) => target === name),
  );
  expect(erp).toMatchObject({ threshold: 0.6, exceeded: true, recomputed: erp.probability });
  expect(crm).toMatchObject({ threshold: 0.8, exceeded: false, probability: erp.probability });
  expect(erp.probability).toBeGreaterThan(0.6);
  expect(erp.probability).toBeLessThan(0.8);
  expect(erp.evidence).toContainEqual(
    expect.objectContaining({ field: 'type', word: 'order.placed', decisions: 40, chosen: 28 }),
  );
  expect(story.deliveries.map(({ target }: { target: string }) => target)).toEqual(['erp']);
  expect(story.rules).toMatchObject({ outcome: { do: 'wait' } });
  // Who gets it hears by which probability.
  const pull = await waybill.call('POST', '/v1/targets/erp/pull', { json: { max: 500 } });
  const { lease, deliveries } = pull.json as { lease: string; deliveries: PulledDelivery[] };
  expect(deliveries).toHaveLength(1);
  expect(deliveries[0]?.headers['waybill-decision']).toBe(`suggestion 1: ${erp.probability}`);
  expect(deliveries[0]?.body).toMatchObject({
    decision: { by: 'suggestion', model: 1, probability: erp.probability },
  });
  const ids = deliveries.map(({ id }) => id);
  expect((await waybill.call('POST', '/v1/targets/erp/ack', { json: { lease, ids } })).status).toBe(200);

  // 1.5: what exceeds nothing waits, and says what it lacked.
  expect((await planned(waybill, unheard)).state).toBe('waiting');
  const waits = await explain(waybill, unheard);
  expect(waits.automatic.scores.map(({ exceeded }: { exceeded: boolean }) => exceeded)).toEqual([false, false]);
  const told = await site.run(['explain', unheard], { WAYBILL_URL: waybill.http, WAYBILL_TOKEN: site.adminToken });
  expect(told.stdout).toMatch(/- erp: [\d.e-]+ of 0\.6 needed/);

  // 1.7: what people decided is suggested with its evidence, and makes no rule.
  const suggested = (await waybill.call('GET', `/v1/messages/${routed}/suggestions`)).json;
  expect(suggested).toMatchObject({ message: routed, model: { version: 1, decisions: 80 } });
  expect(suggested.items.map(({ target }: { target: string }) => target).toSorted()).toEqual(['crm', 'erp']);
  expect(suggested.items[0].evidence.length).toBeGreaterThan(0);
  expect((await waybill.call('GET', '/v1/rules')).json.items).toHaveLength(1);

  // What it chose by itself teaches it nothing; what people decide, and take back, does.
  await send(
    waybill,
    NUMBERS.map((n) => event(`more${n}`, 'order.placed')),
  );
  await decide(waybill, unheard, 'assign', { targets: ['archive'] });
  const late = await send(
    waybill,
    NUMBERS.slice(0, 8).map((n) => event(`late${n}`, 'noise.made')),
  );
  for (const id of late) await decide(waybill, id, 'close', { reason: 'noise' });
  const [regretted = ''] = await send(waybill, [event('regretted', 'order.placed')]);
  await decide(waybill, regretted, 'unassign', { targets: ['erp'] });
  await untilSettled(site.databaseUrl, { mayWait: ['default/erp', 'default/crm', 'default/archive'] });
  await waybill.stop();
  expect(await learn(2)).toMatchObject({ model: { decisions: 90 }, chosen: 28, refused: 62 });

  // The version that decided can still be asked.
  const again = await site.start(WORKING);
  expect((await explain(again, routed)).automatic).toEqual(story.automatic);

  // 1.7: a suggestion is a rule from when a person says so, and not for what came before.
  const { field, word } = suggested.items[0].evidence.find((one: { field: string }) => one.field === 'type');
  await site.write(CONFIG, `rules: [{ name: orders, when: { ${field}: ${word} }, then: { targets: archive } }]\n`);
  const applied = await site.run(['apply'], { WAYBILL_URL: again.http, WAYBILL_TOKEN: site.adminToken });
  expect(applied).toMatchObject({ code: 0 });
  const [ruled = ''] = await send(again, [event('ruled', word)]);
  const ruling = await explain(again, ruled);
  expect(ruling.rules).toMatchObject({ outcome: { do: 'deliver' }, rules: ['orders'] });
  expect(ruling.deliveries.map(({ target }: { target: string }) => target)).toEqual(['archive']);
  expect((await explain(again, routed)).rules).toEqual(story.rules);

  for (const target of ['erp', 'crm', 'archive']) await pullAll(again, target);
  await untilSettled(site.databaseUrl);
  expect((await check(site.databaseUrl)).violations).toEqual([]);
});
