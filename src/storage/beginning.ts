import type { PoolClient } from 'pg';
import { deliveriesOf, type Run } from '../delivery/plan.js';
import { grouped } from '../message/grouped.js';
import { TOP } from '../message/view.js';
import { newDelivery } from '../owner/planning.js';
import type { BegunChannel, Held } from '../owner/ports.js';
import { channelKey } from '../owner/state.js';
import { arrayOf } from './array.js';
import { insertDeliveries } from './pending.js';

/** Channels of $1 and $2. What is joined sideways to them, with OFFSET 0, is looked up for each, however large its table. */
const WANTED = 'unnest($1::int[], $2::smallint[]) as w(tenant, channel)';

interface Place {
  readonly tenant: number;
  readonly channel: number;
}

/**
 * Takes over what the last owners of channels left, and reads where they are: a few statements, however many channels
 * there are. `process` is the row of the one that takes over. The leases must be locked.
 */
export async function beginChannels(
  client: PoolClient,
  process: string,
  epoch: number,
  held: readonly Held[],
): Promise<BegunChannel[]> {
  const places = [arrayOf(held.map((each) => each.tenant)), arrayOf(held.map((each) => each.channel))];
  const adopted = await adoptOpenPlans(client, places);
  const readers = await readersOf(client, places);
  const lines = grouped(await linesOf(client, places, epoch), keyOf);
  const pending = grouped(await pendingOf(client, places), keyOf);
  const cutOff = grouped(await takeOverAttempts(client, places, process), keyOf);
  return held.map((each) => {
    const key = channelKey(each.tenant, each.channel);
    const reader = readers.get(key);
    if (!reader) throw new Error(`channel ${each.channel} of tenant ${each.tenant} has no reader row`);
    const open = cutOff.get(key) ?? [];
    const again = open.filter((one) => one.again && one.first_sequence === one.last_sequence);
    return {
      held: each,
      adopted: adopted.get(key) ?? 0,
      reader: {
        planned: reader.planned,
        lastPlan: reader.last_plan,
        chain: reader.chain,
        lines: new Map((lines.get(key) ?? []).map((line) => [line.target, line.last_number])),
        pending: new Map((pending.get(key) ?? []).map((line) => [line.target, line.count])),
        interrupted: new Map(
          again.map(({ first_sequence, rung, blamed }) => [first_sequence, { ...TOP, rung, blamed }]),
        ),
        aloneUpTo: Math.max(0, ...open.map((one) => one.last_sequence)),
      },
    };
  });
}

/**
 * What an earlier owner had planned and perhaps sent, but not written down as sent, is sent again as it was planned.
 * Answers how many deliveries of each channel.
 */
async function adoptOpenPlans(client: PoolClient, places: readonly string[]): Promise<Map<string, number>> {
  const { rows } = await client.query<Place & { number: number; epoch: number; runs: Run[] }>(
    `select p.* from ${WANTED} cross join lateral (select tenant, channel, number, epoch, runs from plan
       where tenant = w.tenant and channel = w.channel and open offset 0) p
     order by p.tenant, p.channel, p.number`,
    [...places],
  );
  const adopted = new Map<string, number>();
  const waiting = rows.map(({ tenant, channel, number, epoch, runs }) => {
    const key = channelKey(tenant, channel);
    const deliveries = [...deliveriesOf(runs)].filter((each) => each.how === 'now').map(newDelivery);
    adopted.set(key, (adopted.get(key) ?? 0) + deliveries.length);
    return { tenant, channel, plan: number, epoch, deliveries };
  });
  await insertDeliveries(client, waiting);
  if (rows.length > 0) {
    await client.query(
      `update plan p set open = false, closed_at = now() from ${WANTED}
       where p.tenant = w.tenant and p.channel = w.channel and p.open`,
      [...places],
    );
  }
  return adopted;
}

interface ReaderRow extends Place {
  readonly planned: number;
  readonly last_plan: number;
  readonly chain: Buffer;
}

async function readersOf(client: PoolClient, places: readonly string[]): Promise<Map<string, ReaderRow>> {
  const { rows } = await client.query<ReaderRow>(
    `select r.tenant, r.channel, r.planned, r.last_plan, r.chain from ${WANTED}
     join reader r on r.tenant = w.tenant and r.channel = w.channel`,
    [...places],
  );
  return new Map(rows.map((row) => [channelKey(row.tenant, row.channel), row]));
}

async function linesOf(client: PoolClient, places: readonly string[], epoch: number) {
  const { rows } = await client.query<Place & { target: number; last_number: number }>(
    `select l.* from ${WANTED} cross join lateral (select tenant, channel, target, last_number from line
       where tenant = w.tenant and channel = w.channel and epoch = $3 offset 0) l`,
    [...places, epoch],
  );
  return rows;
}

async function pendingOf(client: PoolClient, places: readonly string[]) {
  const { rows } = await client.query<Place & { target: number; count: number }>(
    `select w.tenant, w.channel, d.target, d.count from ${WANTED} cross join lateral (
       select target, count(*) as count from delivery where tenant = w.tenant and channel = w.channel
         and (state = 'pending' or void = 'due') group by target) d`,
    [...places],
  );
  return rows;
}

/**
 * Tries that an earlier owner left open: its death interrupted them. Blame is exact, so each is repeated alone: the first
 * time in its place, so that its account stays in order, and once that is interrupted too (`again`), beside the stream.
 * Those this process gave up itself, for want of the database, are nobody's fault.
 */
async function takeOverAttempts(client: PoolClient, places: readonly string[], process: string) {
  await client.query(
    `delete from attempt a using ${WANTED}
     where a.tenant = w.tenant and a.channel = w.channel and a.ended_at is null and a.process = $3`,
    [...places, process],
  );
  const { rows } = await client.query<
    Place & { first_sequence: number; last_sequence: number; rung: number; blamed: number[]; again: boolean }
  >(
    `update attempt a set ended_at = now(), outcome = 'interrupted', reason = 'the process that tried it ended'
     from ${WANTED} where a.tenant = w.tenant and a.channel = w.channel and a.ended_at is null and a.process <> $3
     returning a.tenant, a.channel, a.first_sequence, a.last_sequence, a.rung, a.blamed, exists (select from attempt b
       where b.tenant = a.tenant and b.channel = a.channel and b.first_sequence <= a.first_sequence
         and b.last_sequence >= a.last_sequence and b.outcome = 'interrupted') as again`,
    [...places, process],
  );
  return rows;
}

function keyOf({ tenant, channel }: Place): string {
  return channelKey(tenant, channel);
}
