import { z } from 'zod';
import type { Principal } from '../../src/access/principal.js';
import type { MeterDefinition } from '../../src/billing/definitions.js';
import { messageId } from '../../src/message/id.js';
import { listBilling, MOST_DEFINED } from '../../src/storage/billing.js';
import { cursorSchema, messageParams } from '../fields.js';
import { heldPage, heldProblem } from '../held.js';
import { accountPath, exactTime } from './billing-words.js';
import type { PageDeps } from './deps.js';
import { address, given, reasonField } from './form.js';
import { visible } from './isolated.js';
import { type Badge, when } from './words.js';

/* The list of what meters hold, because its period was final when it came. */

export const acceptForm = z.object({
  message: messageParams.shape.id,
  why: reasonField,
  /** Of the page of the list that it was pressed on. */
  cursor: given(cursorSchema),
});
export type AcceptForm = z.output<typeof acceptForm>;

/** What stood in the way of accepting a message. */
export interface NotAccepted {
  readonly message: string;
  readonly why: string | undefined;
  readonly detail: string;
  readonly status: number;
}

/** Null: it was accepted. */
export async function acceptHeld(
  { decideHeld }: PageDeps,
  { tenant, who }: Principal,
  { message: target, why }: AcceptForm,
): Promise<NotAccepted | null> {
  const message = messageId(target);
  if (why === undefined)
    return { message, why, detail: 'Say why: the reason is kept with what was accepted.', status: 422 };
  const decided = await decideHeld(tenant, { target, action: 'accept', who, why });
  if (decided.result === 'ok') return null;
  const { detail, status } = heldProblem(target, decided);
  return { message, why, detail, status };
}

const ACCEPTED: Badge = { label: 'accepted', tone: 'ok' };

/** What was just done in the list, and where it leads back to. */
interface Around {
  readonly cursor: string | undefined;
  readonly back: string;
  /** The message that was accepted. */
  readonly accepted: string | undefined;
  readonly failed: NotAccepted | null;
}

export async function heldListed(
  deps: PageDeps,
  { tenant }: Principal,
  { cursor, back, accepted, failed }: Around,
  limit: number,
) {
  const { pool } = deps;
  const now = deps.now();
  const { held, next } = await heldPage(pool, tenant, null, cursor, limit);
  const rows = held.map(({ channel, sequence, account, meters, time, arrivedAt, period }) => {
    const id = messageId({ channel, sequence });
    return {
      id,
      href: address(`/messages/${id}`, { back }),
      account: visible(account),
      accountHref: accountPath(account),
      meters: meters.join(', '),
      period: period !== null && { name: period, href: accountPath(account, `/statements/${period}`) },
      happened: exactTime(time),
      came: when(arrivedAt, now),
      // The ledger comes to it in a moment: until then it is held.
      accepted: id === accepted && ACCEPTED,
      failed: failed?.message === id && failed,
    };
  });
  const holding = rows.length === 0 ? await holdingMeters(pool, tenant.id) : [];
  const refused = failed !== null && !rows.some(({ id }) => id === failed.message) && failed.detail;
  return { held: { rows, cursor, holding: holding.join(', '), refused }, next };
}

/** The meters that hold what comes after its period is final. */
async function holdingMeters(pool: PageDeps['pool'], tenant: number): Promise<string[]> {
  const meters = await listBilling(pool, tenant, 'meter', { after: '', limit: MOST_DEFINED.meter });
  return meters
    .filter(({ definition }) => (definition as MeterDefinition).late === 'quarantine')
    .map(({ name }) => name);
}
