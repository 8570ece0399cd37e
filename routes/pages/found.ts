import { z } from 'zod';
import { foundTypeSchema } from '../../src/content/extract/definition.js';
import type { Found } from '../../src/message/found.js';
import type { Portion } from '../../src/message/portion.js';
import type { KnowingTarget, ReadMessage } from '../messages.js';
import { given, listOf } from './form.js';

/** What was found in a message, and what each target that knows types makes of it. */
export function foundOn(found: readonly Found[], targets: readonly KnowingTarget[]) {
  if (found.length === 0) return null;
  return {
    rows: found.map((one) => ({
      type: one.type,
      value: valueText(one),
      written: one.written === one.value ? null : one.written,
      unclear: one.unclear,
      where: one.where,
      fields: targets.flatMap(({ name, fields }) =>
        Object.hasOwn(fields, one.type) ? [{ target: name, field: fields[one.type] }] : [],
      ),
    })),
    unknown: targets
      .filter(({ unknown }) => unknown.length > 0)
      .map(({ name, unknown }) => ({ target: name, types: unknown.map(counted).join(', ') })),
  };
}

function valueText({ value, currency }: Found): string {
  return currency === undefined ? value : `${value} ${currency}`;
}

function counted({ type, count }: { readonly type: string; readonly count: number }): string {
  return count === 1 ? type : `${type} ×${count}`;
}

/** The portion that a form asks for: one of the radio buttons, and the types that are ticked. */
export const portionFields = {
  portion: given(z.string().regex(/^(?:part-[1-9]\d{0,4}|fields)$/)),
  fields: listOf(foundTypeSchema, 100),
};
interface Asked {
  readonly portion?: string | undefined;
  readonly fields: readonly string[];
}

/** What of the message a form means; null where it says two things, or nothing. */
export function askedPortion({ portion, fields }: Asked): Portion | 'all' | null {
  if (portion === 'fields') return fields.length > 0 ? { fields } : null;
  if (fields.length > 0) return null;
  return portion === undefined ? 'all' : { part: Number(portion.slice('part-'.length)) };
}

/** Attachments that are offered one by one: of a mail with more, the API takes any. */
const PARTS_OFFERED = 30;

/** What of a message can be sent alone; null where there is only all of it. */
export function portionChoices({ view, canonical }: ReadMessage, asked: Asked | undefined) {
  const parts = (view?.parts ?? []).slice(0, PARTS_OFFERED).map(({ n, name }) => ({
    value: `part-${n}`,
    name: name ?? `part ${n}`,
    chosen: asked?.portion === `part-${n}`,
  }));
  const types = [...new Set(canonical.found.map(({ type }) => type))].map((type) => ({
    type,
    values: canonical.found
      .filter((one) => one.type === type)
      .map(valueText)
      .slice(0, 3)
      .join(', '),
    chosen: asked?.fields.includes(type),
  }));
  if (parts.length + types.length === 0) return null;
  return { all: asked?.portion === undefined, parts, types, fields: asked?.portion === 'fields' };
}

/** A portion in words: `attachment 2`, `fields amount, date`. */
export function portionWords(portion: Portion | null | undefined): string | null {
  if (!portion) return null;
  const { part, fields } = portion;
  const words = [part !== undefined && `attachment ${part}`, fields && `fields ${fields.join(', ')}`];
  return words.filter(Boolean).join(' and ');
}
