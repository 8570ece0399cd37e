import type { Pool } from 'pg';
import { z } from 'zod';
import type { Principal } from '../src/access/principal.js';
import { foundTypeSchema } from '../src/content/extract/definition.js';
import { whyNoPortion } from '../src/delivery/portion.js';
import type { Target } from '../src/delivery/target.js';
import type { Place } from '../src/message/id.js';
import type { Portion } from '../src/message/portion.js';
import { listTargets } from '../src/storage/definitions.js';
import { type MessageDeps, type ReadMessage, readMessage } from './messages.js';
import { Problem } from './route.js';

/** What a person may leave of a message: one attachment, or some of what was found in it. */
export const portionFields = {
  part: z.int().min(1).max(10_000).optional().meta({ description: 'One attachment alone, by its number' }),
  fields: z
    .array(foundTypeSchema)
    .min(1)
    .max(100)
    .optional()
    .meta({ description: 'Found data alone, by its types', example: ['order-number', 'amount'] }),
};

/** As it is kept; undefined where all of the message was meant. */
export function portionOf(asked: {
  readonly part?: number | undefined;
  readonly fields?: readonly string[] | undefined;
}): Portion | undefined {
  const { part, fields } = asked;
  if (part === undefined && fields === undefined) return undefined;
  return { ...(part !== undefined && { part }), ...(fields && { fields: [...new Set(fields)].sort() }) };
}

/**
 * Whether a portion can be sent to targets, before anybody decides that it is. Throws Problem: 404, 410, and 422 where the
 * message has no such portion, or a target's body can't be one.
 */
export async function checkPortion(
  deps: MessageDeps,
  by: Principal,
  place: Place,
  portion: Portion,
  targets: readonly string[],
): Promise<void> {
  const read = await readMessage(deps, by, place);
  // What is not planned is not read either: deciding says so.
  if (read.standing.state === 'accepted') return;
  checkPart(read, portion);
  checkFields(read, portion);
  for (const target of await definitionsOf(deps.pool, by.tenant.id, targets)) checkTarget(target, portion);
}

function checkPart({ view }: ReadMessage, { part }: Portion): void {
  const parts = view?.parts.map(({ n }) => n) ?? [];
  if (part === undefined || parts.includes(part)) return;
  const there = parts.length === 0 ? 'it has none' : `it has ${parts.slice(0, 20).join(', ')}`;
  throw new Problem(422, 'no_such_part', `The message has no attachment ${part}: ${there}.`, { part });
}

function checkFields({ canonical }: ReadMessage, { fields = [] }: Portion): void {
  const types = new Set(canonical.found.map(({ type }) => type));
  const missing = fields.filter((type) => !types.has(type));
  if (missing.length === 0) return;
  const there = types.size === 0 ? 'nothing was' : `${[...types].join(', ')} ${types.size === 1 ? 'was' : 'were'}`;
  throw new Problem(422, 'field_not_found', `${missing.join(', ')} was not found in the message; ${there}.`, {
    fields: missing,
  });
}

function checkTarget({ name, definition }: Named, portion: Portion): void {
  const why = whyNoPortion(definition, portion);
  if (why !== null) throw new Problem(422, 'portion_not_possible', `Target "${name}" ${why}.`, { target: name });
  const { fields: known } = definition;
  const { part, fields } = portion;
  if (part !== undefined || !fields || !known || fields.some((type) => Object.hasOwn(known, type))) return;
  const detail = `Target "${name}" knows none of these: ${fields.join(', ')}. Name them in its \`fields\`, or choose others.`;
  throw new Problem(422, 'fields_unknown_to_target', detail, { target: name });
}

type Named = Pick<Target, 'name' | 'definition'>;

/** Those that are there: who names another hears of it when it is decided. */
async function definitionsOf(pool: Pool, tenant: number, names: readonly string[]): Promise<Named[]> {
  return (await listTargets(pool, tenant)).filter(({ name }) => names.includes(name));
}
