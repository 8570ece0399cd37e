import fc from 'fast-check';
import { LosslessNumber } from 'lossless-json';
import { describe, expect, it } from 'vitest';
import { compileSchema, schemaProblem } from '../../src/content/schema.js';
import { spentMs } from '../support/spent.js';

const ORDER = compileSchema({
  type: 'object',
  required: ['id'],
  additionalProperties: false,
  properties: {
    id: { type: 'string', pattern: '^[a-z]+$', maxLength: 5 },
    amount: { type: 'number', minimum: 0 },
    lines: { type: 'array', items: { type: 'object', properties: { 'a/b': { type: 'integer' } } } },
    way: { anyOf: [{ const: 'air' }, { const: 'sea' }] },
  },
});

function pointersOf(data: unknown): string[] {
  return ORDER(data).misfits.map(({ pointer, removed }) => `${removed ? '-' : '?'}${pointer}`);
}

describe('a schema', () => {
  it('leaves what fits as it is, the very object', () => {
    const data = { id: 'abc', amount: new LosslessNumber('12.50'), way: 'air' };
    expect(ORDER(data)).toEqual({ data, misfits: [] });
    expect(ORDER(data).data).toBe(data);
  });

  it('takes out each field that does not fit, and says which', () => {
    const data = { id: 'abc', amount: '12', lines: [{ 'a/b': 1 }, { 'a/b': 'x' }], way: 'road', extra: 1 };
    const { data: left } = ORDER(data);
    expect(left).toEqual({ id: 'abc', lines: [{ 'a/b': 1 }, {}] });
    expect(pointersOf(data).sort()).toEqual(['-/amount', '-/extra', '-/lines/1/a~1b', '-/way']);
    // The message's own data stay whole.
    expect(data.amount).toBe('12');
  });

  it('takes elements out of a list, and names the places where they stood', () => {
    const data = { id: 'a', lines: [{}, 7, { 'a/b': 2 }, 'x', { 'a/b': 'y' }] };
    expect(ORDER(data).data).toEqual({ id: 'a', lines: [{}, { 'a/b': 2 }, {}] });
    expect(pointersOf(data)).toEqual(['-/lines/1', '-/lines/3', '-/lines/4/a~1b']);
  });

  it('says what is missing, and leaves the rest', () => {
    expect(pointersOf({ amount: 1 })).toEqual(['?']);
    expect(ORDER({ amount: 1 }).data).toEqual({ amount: 1 });
  });

  it('leaves nothing of data that are another thing altogether, or do not fit in too many places', () => {
    expect(ORDER('text')).toMatchObject({ data: undefined, misfits: [{ pointer: '' }] });
    const many = Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`x${i}`, i]));
    expect(ORDER({ id: 'a', ...many }).data).toBeUndefined();
  });

  it('gives data that fit, whatever came', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (data) => {
        const { data: left, misfits } = ORDER(data);
        if (left === undefined || misfits.some(({ removed }) => !removed)) return;
        expect(ORDER(left).misfits).toEqual([]);
      }),
    );
  });

  it('is never held up by a pattern', () => {
    const slow = compileSchema({ type: 'object', properties: { a: { pattern: '^(a+)+$' } } });
    const begun = spentMs();
    expect(slow({ a: `${'a'.repeat(50_000)}b` }).misfits).toHaveLength(1);
    expect(spentMs() - begun).toBeLessThan(2_000);
  });

  it('that is none is told from one, in words', () => {
    expect(schemaProblem({ type: 'object' })).toBeNull();
    expect(schemaProblem({ type: 'thing' })).toContain('type');
    expect(schemaProblem({ $ref: 'https://elsewhere.example/schema' })).toContain('$ref');
    expect(schemaProblem({ $async: true, type: 'object' })).toContain('$async');
    expect(schemaProblem({ properties: { a: { uniqueItems: true } } })).toContain('uniqueItems');
  });
});
