import { z } from 'zod';
import { type Place, parseMessageId } from '../../src/message/id.js';
import { text } from '../fields.js';
import { invalid } from '../problem.js';

/** What a form or an address leaves empty counts as not given. */
export function given<T extends z.ZodType>(schema: T) {
  return z.preprocess((value) => (value === '' ? undefined : value), schema.optional()).optional();
}

/** What a form may give once, several times or not at all. */
export function listOf<T extends z.ZodType>(schema: T, most: number) {
  return z.preprocess((value) => (value === undefined ? [] : [value].flat()), z.array(schema).max(most));
}

/** Free text of a person, white space around it cut off. */
export const reasonField = given(z.string().trim().pipe(text(2000)));

/** Where a form came from and leads back to: one of our own lists. */
export const backField = given(
  z
    .string()
    .max(4000)
    .regex(
      /^\/(inbox|messages|quarantine|targets|targets\/[a-z0-9-]{1,63}|billing(\/[\w.~!'()*%-]+)*)(\?[\x21\x24-\x5b\x5d-\x7e]*)?$/,
    ),
);

/** A message as somebody saw it: `7-10234:3`. */
export interface Seen {
  readonly place: Place;
  readonly version: number;
}

export const seenField = z.string().transform((value, context): Seen => {
  const [id = '', version = ''] = value.split(':');
  const place = parseMessageId(id);
  if (place && /^[1-9]\d{0,8}$/.test(version)) return { place, version: Number(version) };
  context.addIssue({ code: 'custom', message: 'not a message and its version' });
  return z.NEVER;
});

/** Reads a form. Throws Problem 422. */
export function readForm<T>(schema: z.ZodType<T>, body: unknown): T {
  const read = schema.safeParse(body);
  if (!read.success) throw invalid('body', read.error);
  return read.data;
}

/** An address with what its query holds; what is undefined is left out. */
export function address(path: string, query: Readonly<Record<string, string | readonly string[] | undefined>>): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of [value ?? []].flat()) parameters.append(name, one);
  }
  const written = parameters.toString();
  return written === '' ? path : `${path}?${written}`;
}
