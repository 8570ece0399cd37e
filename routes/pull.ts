import { isUtf8 } from 'node:buffer';
import { z } from 'zod';
import type { Principal } from '../src/access/principal.js';
import { Room } from '../src/channel/room.js';
import type { DeliveryPlace, Leased, PulledTarget, PullStore, Returned } from '../src/delivery/pull.js';
import { type Target, targetNameSchema } from '../src/delivery/target.js';
import { wireFields, wireMessageId, wireType } from '../src/delivery/wire.js';
import type { Clock } from '../src/message/clock.js';
import type { Outgoing } from '../src/message/delivery.js';
import { deliveryId, parseDeliveryId } from '../src/message/id.js';
import { text, timeOut } from './fields.js';
import { caller, notFound } from './problem.js';
import { type ApiRequest, Problem, type Reply, type Route } from './route.js';

export interface PullDeps {
  readonly store: PullStore;
  readonly targetNamed: (tenant: number, name: string) => Target | undefined;
  /** Whether consumers fetch from this target: `pull`, and `queue` where RabbitMQ is not configured. */
  readonly isPulled: (target: Target) => boolean;
  /**
   * What goes out for each delivery, in the order given; null where its content is gone. Asked for one at a time, and
   * left early where a reply is full.
   */
  readonly render: (target: Target, leased: readonly Leased[]) => AsyncIterable<Outgoing | null>;
  /** Calls back when something of a target may have become due. Answers how to stop that. */
  readonly onPending: (target: Target, listener: () => void) => () => void;
  readonly clock: Clock;
  /** Random bytes for ids of leases. */
  readonly random: (bytes: number) => Buffer;
  /** Fires when the process is asked to stop: nobody is kept waiting any longer. */
  readonly stopping: AbortSignal;
}

/** Most deliveries of a call, and most seconds it may wait for the first. */
const MOST = 1_000;
const LONGEST_WAIT = 30;
/** Bodies of one reply, bytes: enough for many small ones, and a large one always goes alone. */
const REPLY_BYTES = 16 * 1024 * 1024;
/** Bytes of all replies that are being written at a time; tenants share them. */
const REPLIES_BYTES = 16 * REPLY_BYTES;
/** Consumers of one target that may wait at a time; each asks the database once a second. */
const MOST_WAITING = 100;
/** What was made due by another process, or by time, is seen within this. */
const POLL_MS = 1_000;

const pullBody = z.strictObject({
  max: z.int().min(1).max(MOST).default(100).meta({ description: 'Most deliveries to give' }),
  wait: z.number().min(0).max(LONGEST_WAIT).default(0).meta({ description: 'Seconds to wait where there is none yet' }),
});
type PullBody = z.infer<typeof pullBody>;

const leaseId = z.string().regex(/^[0-9a-f]{16}$/);
const returnedIds = {
  ids: z.array(z.string().max(200)).min(1).max(MOST).meta({ description: 'Delivery ids' }),
  lease: leaseId.optional().meta({
    description: 'The lease they came with. Without it, any lease of this token: enough where one consumer uses it',
  }),
};
const ackBody = z.strictObject(returnedIds);
const nackBody = z.strictObject({
  ...returnedIds,
  delay: z.int().min(0).max(86_400).default(0).meta({ description: 'Seconds until they are given out again' }),
  reject: z
    .boolean()
    .default(false)
    .meta({ description: 'Never again: they end as failed, and their numbers are void' }),
  reason: text(500).optional().meta({ description: 'Why; shown with the delivery' }),
});

const pulledSchema = z.object({
  lease: leaseId.nullable(),
  deliveries: z.array(
    z.object({
      id: z.string().meta({ example: '1767225600.crm.7-312' }),
      messageId: z.string().meta({ description: '`<tenant>:<epoch>:<id>`', example: 'acme:1767225600:7-10234' }),
      type: z.string().nullable(),
      headers: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])),
      contentType: z.string(),
      encoding: z.literal('base64').optional().meta({ description: 'Present where the body is not JSON' }),
      body: z.unknown(),
      attempt: z.int(),
      leasedUntil: timeOut,
    }),
  ),
});

const resultsSchema = (done: 'acked' | 'returned' | 'rejected', other?: 'rejected') =>
  z.object({
    results: z.array(
      z.object({ id: z.string(), result: z.enum([done, ...(other ? [other] : []), 'lease_lost', 'unknown']) }),
    ),
  });

const params = z.object({ name: targetNameSchema });
type Named = { readonly name: string };

/** Consumers that fetch: lease, then ack or give back. */
export function pullRoutes(deps: PullDeps): Route[] {
  const waiting = new Map<string, number>();
  const replies = new Room(REPLIES_BYTES);
  return [
    {
      method: 'post',
      path: '/v1/targets/:name/pull',
      permission: 'targets.pull',
      summary: 'Lease deliveries of a target; waits for the first',
      params,
      body: 'json',
      bodySchema: pullBody,
      replies: {
        200: { description: 'What is leased until its time is over; none after waiting in vain', schema: pulledSchema },
        409: { description: 'The target is not one that is pulled' },
        429: { description: 'Too many consumers wait for this target, or too much is being handed out' },
      },
      handler: async (request: ApiRequest<Named, unknown, PullBody>) => {
        const { who, target } = pulledTarget(deps, request);
        const holder = { who, lease: deps.random(8).toString('hex') };
        const leased = await withRoom(waiting, target, request.body.wait > 0, () =>
          leaseOrWait(deps, target, holder, request),
        );
        return await inRoom(deps, replies, target, holder, leased, () => reply(deps, target, holder, leased));
      },
    },
    {
      method: 'post',
      path: '/v1/targets/:name/ack',
      permission: 'targets.pull',
      summary: 'Settle leased deliveries: they are delivered',
      params,
      body: 'json',
      bodySchema: ackBody,
      replies: { 200: { description: 'What became of each, in the order asked', schema: resultsSchema('acked') } },
      handler: async (request: ApiRequest<Named, unknown, z.infer<typeof ackBody>>) => {
        const { who, target } = pulledTarget(deps, request);
        const { ids, lease } = request.body;
        const give = (places: DeliveryPlace[]) => deps.store.ack(pulled(target), places, { who, lease: lease ?? null });
        return { status: 200, body: { results: await givenBack(target, ids, 'acked', give) } };
      },
    },
    {
      method: 'post',
      path: '/v1/targets/:name/nack',
      permission: 'targets.pull',
      summary: 'Give leased deliveries back, to be had again later, or never',
      params,
      body: 'json',
      bodySchema: nackBody,
      replies: {
        200: { description: 'What became of each, in the order asked', schema: resultsSchema('returned', 'rejected') },
      },
      handler: async (request: ApiRequest<Named, unknown, z.infer<typeof nackBody>>) => {
        const { who, target } = pulledTarget(deps, request);
        const { ids, lease, delay, reject, reason = null } = request.body;
        const nack = reject
          ? ({ do: 'reject', code: 'rejected', reason } as const)
          : ({ do: 'return', delaySeconds: delay, reason } as const);
        const give = (places: DeliveryPlace[]) =>
          deps.store.nack(pulled(target), places, { who, lease: lease ?? null }, nack);
        return { status: 200, body: { results: await givenBack(target, ids, reject ? 'rejected' : 'returned', give) } };
      },
    },
  ];
}

function pulledTarget(deps: PullDeps, request: ApiRequest<Named>): { who: string; target: Target } {
  const { tenant, who }: Principal = caller(request.principal);
  const target = deps.targetNamed(tenant.id, request.params.name);
  if (!target) throw notFound('target');
  if (!deps.isPulled(target)) {
    const detail = `Target "${target.name}" is of kind ${target.definition.kind}: Waybill sends to it, nobody fetches.`;
    throw new Problem(409, 'target_not_pulled', detail);
  }
  return { who, target };
}

/** A queue that is pulled for want of RabbitMQ has no lease time of its own. */
const LEASE_SECONDS = 60;

function pulled(target: Target): PulledTarget {
  const { definition, tenant, id } = target;
  return {
    tenant: tenant.id,
    id,
    channels: tenant.channels,
    inLine: definition.order === 'channel',
    leaseSeconds: definition.kind === 'pull' ? definition.leaseSeconds : LEASE_SECONDS,
  };
}

async function withRoom<T>(
  waiting: Map<string, number>,
  target: Target,
  waits: boolean,
  work: () => Promise<T>,
): Promise<T> {
  if (!waits) return await work();
  const key = `${target.tenant.id}/${target.id}`;
  const count = (waiting.get(key) ?? 0) + 1;
  if (count > MOST_WAITING) {
    const detail = `${MOST_WAITING} consumers wait for this target already; ask again, or ask without "wait".`;
    throw new Problem(429, 'too_many_waiting', detail, {}, { 'retry-after': '1' });
  }
  waiting.set(key, count);
  try {
    return await work();
  } finally {
    const left = (waiting.get(key) ?? 1) - 1;
    if (left > 0) waiting.set(key, left);
    else waiting.delete(key);
  }
}

/** Leases what there is; where there is nothing, again at every notice and every second until the time is over. */
async function leaseOrWait(
  deps: PullDeps,
  target: Target,
  holder: { readonly who: string; readonly lease: string },
  { body: { max, wait }, incoming: { socket } }: ApiRequest<Named, unknown, PullBody>,
): Promise<Leased[]> {
  const deadline = deps.clock.monotonic() + wait * 1000;
  const bell = new Bell();
  const ring = () => bell.ring();
  const stop = deps.onPending(target, ring);
  // A caller that hangs up must not be given anything.
  socket.once('close', ring);
  try {
    for (;;) {
      if (socket.destroyed) return [];
      const current = deps.targetNamed(target.tenant.id, target.name);
      const leased = current && !current.paused ? await deps.store.lease(pulled(current), holder, max) : [];
      const left = deadline - deps.clock.monotonic();
      if (leased.length > 0 || left <= 0 || deps.stopping.aborted) return leased;
      await bell.rung(Math.min(left, POLL_MS));
    }
  } finally {
    stop();
    socket.off('close', ring);
  }
}

/** Wakes one sleeper; a ring that finds nobody asleep wakes the next at once. */
class Bell {
  private pending = false;
  private wake: (() => void) | null = null;

  ring(): void {
    this.pending = true;
    this.wake?.();
  }

  /** Resolves at a ring, or when the time is over. */
  async rung(ms: number): Promise<void> {
    if (!this.pending) {
      let timer: NodeJS.Timeout | undefined;
      await new Promise<void>((resolve) => {
        this.wake = resolve;
        timer = setTimeout(resolve, ms);
      });
      clearTimeout(timer);
    }
    this.wake = null;
    this.pending = false;
  }
}

/** Of a body in JSON and of what surrounds it, bytes for each of the message as it came. */
const WRITTEN = { forEach: 2_000, times: 1.5 } as const;

/** Replies are in memory while they are written: where there are too many, what was leased goes back. */
async function inRoom<T>(
  deps: PullDeps,
  replies: Room,
  target: Target,
  holder: { readonly who: string; readonly lease: string },
  leased: readonly Leased[],
  work: () => Promise<T>,
): Promise<T> {
  const tenant = target.tenant.id;
  const size = leased.reduce((sum, each) => sum + each.size * WRITTEN.times + WRITTEN.forEach, 0);
  const bytes = Math.min(size, 2 * REPLY_BYTES);
  if (!replies.take(tenant, bytes)) {
    await deps.store.release(pulled(target), leased, holder);
    const detail = 'Too much is being handed out just now; ask again.';
    throw new Problem(429, 'too_many_replies', detail, {}, { 'retry-after': '1' });
  }
  try {
    return await work();
  } finally {
    replies.remove(tenant, bytes);
  }
}

/** Writes out what was leased, as far as it has room; the rest goes back as if it had not been leased. */
async function reply(
  deps: PullDeps,
  target: Target,
  holder: { readonly who: string; readonly lease: string },
  leased: readonly Leased[],
): Promise<Reply> {
  const written: { entries: string[]; read: number; gone: Leased[] } = { entries: [], read: 0, gone: [] };
  try {
    await write(deps, target, leased, written);
  } catch (error) {
    await deps.store.release(pulled(target), leased, holder);
    throw error;
  }
  await deps.store.release(pulled(target), leased.slice(written.read), holder);
  const [portions, messages] = [written.gone.filter(isPortion), written.gone.filter((one) => !isPortion(one))];
  await deps.store.nack(pulled(target), messages, holder, CONTENT_GONE);
  await deps.store.nack(pulled(target), portions, holder, PORTION_GONE);
  const lease = written.entries.length > 0 ? JSON.stringify(holder.lease) : 'null';
  const body = `{"lease":${lease},"deliveries":[${written.entries.join(',')}]}`;
  return { status: 200, type: 'application/json', body };
}

async function write(
  deps: PullDeps,
  target: Target,
  leased: readonly Leased[],
  to: { readonly entries: string[]; read: number; readonly gone: Leased[] },
): Promise<void> {
  if (leased.length === 0) return;
  let bytes = 0;
  for await (const outgoing of deps.render(target, leased)) {
    const one = leased[to.read] as Leased;
    if (outgoing && to.entries.length > 0 && bytes + outgoing.body.length > REPLY_BYTES) return;
    to.read++;
    if (outgoing) to.entries.push(entryText(outgoing, one));
    else to.gone.push(one);
    bytes += outgoing?.body.length ?? 0;
  }
}

const CONTENT_GONE = { do: 'reject', code: 'content_gone', reason: 'its content is older than what is kept' } as const;
const PORTION_GONE = {
  do: 'reject',
  code: 'portion_gone',
  reason: 'the attachment it was to be can not be read any more',
} as const;

/** Found fields can always be made: of those that can't, all are attachments. */
function isPortion({ portion }: Leased): boolean {
  return portion?.part !== undefined;
}

function entryText(outgoing: Outgoing, leased: Leased): string {
  const json = jsonText(outgoing);
  const entry = {
    id: deliveryId(outgoing),
    messageId: wireMessageId(outgoing),
    type: wireType(outgoing),
    headers: wireFields(outgoing),
    contentType: outgoing.contentType,
    attempt: leased.attempts + 1,
    leasedUntil: new Date(leased.leasedUntil).toISOString(),
    ...(json === undefined && { encoding: 'base64', body: Buffer.from(outgoing.body).toString('base64') }),
  };
  const written = JSON.stringify(entry);
  // As it is, not read and written again: that would cost digits.
  return json === undefined ? written : `${written.slice(0, -1)},"body":${json}}`;
}

const JSON_TYPE = /^application\/(?:[\w.+-]+\+)?json(?:;|$)/;

/** The body where it is JSON; what only calls itself that goes as bytes. */
function jsonText({ contentType, body }: Outgoing): string | undefined {
  if (!JSON_TYPE.test(contentType) || !isUtf8(body)) return undefined;
  const written = Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString();
  try {
    JSON.parse(written);
    return written;
  } catch {
    return undefined;
  }
}

async function givenBack<T extends string>(
  target: Target,
  ids: readonly string[],
  done: T,
  give: (places: DeliveryPlace[]) => Promise<Returned[]>,
): Promise<{ id: string; result: T | 'lease_lost' | 'unknown' }[]> {
  const places = ids.map((id) => placeOf(target, id));
  const returned = await give(places.filter((place) => place !== undefined));
  let next = 0;
  return ids.map((id, i) => {
    const result = places[i] === undefined ? 'unknown' : (returned[next++] as Returned);
    return { id, result: result === 'done' ? done : result };
  });
}

function placeOf(target: Target, id: string): DeliveryPlace | undefined {
  const key = parseDeliveryId(id);
  return key?.target === target.name ? { channel: key.channel, epoch: key.epoch, number: key.number } : undefined;
}
