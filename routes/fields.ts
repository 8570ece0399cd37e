import { z } from 'zod';
import { nameSchema } from '../src/channel/source.js';
import { parseDeliveryId, parseMessageId } from '../src/message/id.js';

/** A text as PostgreSQL can hold and compare it: no NUL, no half of a surrogate pair. */
export function text(most: number) {
  return z
    .string()
    .min(1)
    .max(most)
    .refine((value) => !/[\0\p{Cs}]/u.test(value), 'must be well-formed text without NUL');
}

/** A whole number in an address: digits and nothing else. */
export function digits(least: number, most: number) {
  return z
    .string()
    .regex(/^\d{1,15}$/, 'must be a whole number')
    .transform(Number)
    .pipe(z.number().min(least).max(most))
    .meta({ type: 'integer', minimum: least, maximum: most });
}

/** RFC 3339 in, Date within. */
export const timeSchema = z
  .string()
  .max(40)
  .pipe(z.iso.datetime({ offset: true, error: 'a time such as 2026-01-31T12:00:00Z' }))
  .transform((value) => new Date(value))
  .meta({ type: 'string', format: 'date-time' });

/** As it goes out. */
export const timeOut = z.iso.datetime();

export const limitSchema = digits(1, 200).default(50);
export const cursorSchema = z
  .string()
  .max(8192)
  .regex(/^[A-Za-z0-9_-]+$/)
  .meta({ description: '`next` of the page before' });

export const nameParams = z.object({ name: nameSchema });

export const messageParams = z.object({
  id: z
    .string()
    .transform((id, context) => parseMessageId(id) ?? noId(context))
    .meta({ type: 'string', example: '7-10234' }),
});

export const quarantineParams = z.object({
  id: z
    .string()
    .regex(/^q-[1-9]\d{0,14}$/)
    .transform((id) => Number(id.slice(2)))
    .meta({ type: 'string', example: 'q-12' }),
});

export const deliveryParams = z.object({
  id: z
    .string()
    .transform((id, context) => parseDeliveryId(id) ?? noId(context))
    .meta({ type: 'string', example: '1767225600.crm.7-312' }),
});

function noId(context: z.RefinementCtx): never {
  context.addIssue({ code: 'custom', message: 'not an id' });
  return z.NEVER;
}

/** A list's answer: the entries, and `next` for the cursor of the next page, null after the last. */
export function pageOf<T extends z.ZodType>(entry: T) {
  return z.object({
    items: z.array(entry),
    next: z
      .string()
      .nullable()
      .meta({ description: 'Cursor of the next page. A filtered page may be short, even empty, and still have one' }),
  });
}
