import { z } from 'zod';
import { isPlainDecimal, readValue } from '../billing/exact.js';
import { compareDecimals, type Decimal, parseDecimal } from '../routing/decimal.js';
import { Room } from './room.js';

/*
 * What a filter's "maybe seen" costs. By default the exact store is asked. A source may say that below a value it is not:
 * then the message is a duplicate at once, and is kept until somebody has looked.
 */

const THRESHOLD = 'a decimal above 0 in quotes, such as "10.00"';

export const maybeSchema = z.strictObject({
  threshold: z
    .string(THRESHOLD)
    .refine((text) => isPlainDecimal(text) && isAboveZero(text), THRESHOLD)
    .describe(
      'What a message is worth, in absolute value, from which on it is always looked up; so is one without a value that can be read. In quotes: `"10.00"`.',
    ),
  below: z
    .enum(['look-up', 'duplicate'])
    .describe(
      'What becomes of one that is worth less: `look-up`, or `duplicate` at once, kept until it has been looked up.',
    ),
});

export type MaybePolicy = z.infer<typeof maybeSchema>;

/** What a message must be worth less than to be taken as a duplicate unseen; undefined where each is looked up. */
export function unseenBelow(policy: MaybePolicy | undefined): string | undefined {
  return policy?.below === 'duplicate' ? policy.threshold : undefined;
}

/** Whether a value is nearer to 0 than a threshold. One that is missing, or could not be counted, is not. */
export function isBelow(value: string | null, threshold: string): boolean {
  const read = readValue(value);
  const decimal = read.ok ? parseDecimal(read.text) : undefined;
  const bound = parseDecimal(threshold);
  return decimal !== undefined && bound !== undefined && compareDecimals(magnitude(decimal), bound) < 0;
}

function magnitude(decimal: Decimal): Decimal {
  return { ...decimal, negative: false };
}

function isAboveZero(text: string): boolean {
  const decimal = parseDecimal(text);
  return decimal !== undefined && !decimal.negative && decimal.digits !== '';
}

/** What a kept message takes beside its bytes, about. */
const ROW_BYTES = 1024;

/** Room for what is kept unseen, which tenants share. Of what has none the store is asked. */
export class UnseenRoom {
  #room: Room;

  constructor(private readonly bytes: number) {
    this.#room = new Room(bytes);
  }

  take(tenant: number, bytes: number): boolean {
    return this.#room.take(tenant, bytes + ROW_BYTES);
  }

  /** What the store holds just now, of all processes. */
  counted(held: readonly { readonly tenant: number; readonly rows: number; readonly bytes: number }[]): void {
    this.#room = new Room(this.bytes);
    for (const { tenant, rows, bytes } of held) this.#room.add(tenant, bytes + rows * ROW_BYTES);
  }
}
