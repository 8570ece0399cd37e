import { type PullDeps, pullRoutes } from '../../../routes/pull.js';
import type { PullTarget, Target } from '../../../src/delivery/target.js';
import type { Outgoing } from '../../../src/message/delivery.js';
import { deliveryId } from '../../../src/message/id.js';
import { createPullStore } from '../../../src/storage/pull.js';
import { createTenant } from '../../../src/storage/tenants.js';
import { type Behaviour, type Outcome, type Received, targetConformance } from '../../conformance/target.js';
import { type Api, startApi } from '../../routes/harness.js';
import { realClock } from '../../support/clock.js';

/** What a consumer gets of one delivery. */
interface Pulled {
  readonly id: string;
  readonly type: string | null;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly contentType: string;
  readonly encoding?: 'base64';
  readonly body: unknown;
}

targetConformance('pull', { notices: true }, async () => {
  let behaviour: Behaviour = {};
  const taken: Received[] = [];
  const waiting = new Map<string, Outgoing>();
  let api: Api | undefined;
  let crm: Target | undefined;
  const store = () => createPullStore((api as Api).pool);
  const deps: PullDeps = {
    store: {
      lease: (...all) => store().lease(...all),
      ack: (...all) => store().ack(...all),
      nack: (...all) => store().nack(...all),
      release: (...all) => store().release(...all),
    },
    targetNamed: () => crm,
    isPulled: () => true,
    async *render(_target, leased) {
      for (const { channel, number, what, attempts } of leased) {
        const sent = waiting.get(`${channel}-${number}`) as Outgoing;
        yield { ...sent, what, attempts };
      }
    },
    onPending: () => () => undefined,
    clock: realClock,
    random: (bytes) => Buffer.alloc(bytes, 1),
    stopping: new AbortController().signal,
  };
  const started = await startApi(pullRoutes(deps));
  api = started;
  const { pool } = started;
  const made = await createTenant(pool, 'acme', 16, 'test');
  if (made.result !== 'ok') throw new Error(made.result);
  const token = await started.token(['targets.pull'], made.tenant);
  const { rows } = await pool.query<{ id: number }>(
    `insert into target (tenant, name, kind, definition, managed_by) values ($1, 'crm', 'pull', '{"kind":"pull"}', 'api') returning id`,
    [made.tenant.id],
  );
  const definition: PullTarget = {
    kind: 'pull',
    body: 'message',
    inlineParts: false,
    order: 'channel',
    leaseSeconds: 60,
  };
  crm = { id: rows[0]?.id as number, name: 'crm', tenant: made.tenant, definition, paused: null };
  const { id, tenant } = crm;

  /** As a plan leaves them; one that was tried before is due again. */
  async function insert(sent: Outgoing): Promise<void> {
    waiting.set(`${sent.channel}-${sent.number}`, sent);
    await pool.query(
      `insert into delivery (tenant, target, channel, epoch, number, sequence, plan, rung, decision, state, void)
       values ($1, $2, $3, $4, $5, $6, 1, 0, '{"by":"rules","set":1,"rules":["all"]}', $7, $8)
       on conflict (tenant, target, channel, epoch, number) do update set state = excluded.state, next_at = now(), leased_until = null`,
      [
        tenant.id,
        id,
        sent.channel,
        sent.epoch,
        sent.number,
        sent.sequence,
        sent.what === 'void' ? 'failed' : 'pending',
        sent.what === 'void' ? 'due' : null,
      ],
    );
  }

  const call = async (what: string, body: object) => {
    const answer = await started.call('POST', `/v1/targets/crm/${what}`, { body, token });
    if (answer.status !== 200) throw new Error(answer.text);
    return answer.body;
  };
  const answerWith = async (what: string, delivery: Pulled, more: object = {}) => {
    const { results } = await call(what, { ids: [delivery.id], ...more });
    return results[0].result;
  };

  /** A consumer that takes everything there is, once. */
  async function consume(): Promise<Map<string, Outcome>> {
    const outcomes = new Map<string, Outcome>();
    const stopped = new Set<unknown>();
    const { deliveries } = (await call('pull', { max: 1_000 })) as { deliveries: Pulled[] };
    for (const delivery of deliveries) {
      const number = Number(delivery.headers['waybill-delivery']);
      const channel = delivery.headers['waybill-channel'];
      if (behaviour.hangs?.has(number)) continue;
      if (stopped.has(channel) || behaviour.fails?.has(number)) {
        stopped.add(channel);
        await answerWith('nack', delivery);
      } else if (behaviour.refuses?.has(number) && delivery.type !== 'waybill.delivery.void') {
        if ((await answerWith('nack', delivery, { reject: true })) === 'rejected') outcomes.set(delivery.id, 'refused');
      } else {
        taken.push(received(delivery));
        if ((await answerWith('ack', delivery)) === 'acked') outcomes.set(delivery.id, 'taken');
      }
    }
    return outcomes;
  }

  const underWay = new Set<Promise<unknown>>();
  return {
    taken,
    deliver(batch) {
      const delivering = (async () => {
        // The time of leases that nobody answered is over by now.
        await pool.query('update delivery set next_at = now(), leased_until = now() where leased_until is not null');
        for (const sent of batch) await insert(sent);
        const outcomes = await consume();
        return batch.map((sent) => outcomes.get(deliveryId(sent)) ?? 'again');
      })();
      underWay.add(delivering);
      return delivering;
    },
    behave(next) {
      behaviour = next;
    },
    async close() {
      await Promise.all(underWay);
      await started.close();
    },
  };
});

function received({ id, type, headers, contentType, encoding, body }: Pulled): Received {
  return {
    id,
    channel: Number(headers['waybill-channel']),
    number: Number(headers['waybill-delivery']),
    type,
    fields: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)])),
    contentType,
    body: encoding === 'base64' ? Buffer.from(body as string, 'base64') : Buffer.from(JSON.stringify(body)),
  };
}
