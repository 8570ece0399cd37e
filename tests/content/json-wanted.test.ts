import fc from 'fast-check';
import { LosslessNumber } from 'lossless-json';
import { expect, it } from 'vitest';
import { readExact, readWanted, wantedBy } from '../../src/content/json/exact.js';
import { follow } from '../../src/content/json/pointer.js';
import { spentMs } from '../support/spent.js';

/** Few, so that pointers meet them, and written in more ways than one. */
const KEYS = ['a', 'data', 'amount', '__proto__', 'ä', '0', ''];
const key = fc.constantFrom(...KEYS);
const written = key.chain((text) =>
  fc.constantFrom(
    JSON.stringify(text),
    `"${[...text].map((c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`).join('')}"`,
  ),
);
const scalar = fc.oneof(
  fc.constantFrom(
    'true',
    'false',
    'null',
    '-0',
    '12.50',
    '1e2',
    '12345678901234567890',
    '""',
    '"\\\\"',
    '"\\""',
    '"}]{["',
  ),
  fc.string({ unit: 'grapheme' }).map((text) => JSON.stringify(text)),
  fc.integer().map(String),
);
const blank = fc.constantFrom('', ' ', '\n\t');
/** JSON texts in which keys come twice, numbers lose digits as doubles and braces stand in strings. */
const { json } = fc.letrec<{ json: string }>((tie) => ({
  json: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    scalar,
    fc
      .array(fc.tuple(blank, written, blank, tie('json'), blank), { maxLength: 6 })
      .map((members) => `{${members.map(([a, name, b, value, c]) => `${a}${name}${b}:${value}${c}`).join(',')}}`),
    fc.array(tie('json'), { maxLength: 4 }).map((items) => `[ ${items.join(' ,')}]`),
  ),
}));
const pointers = fc.array(fc.array(key, { maxLength: 3 }), { maxLength: 4 });

it('what pointers lead to is the same, whatever else is passed over', () => {
  fc.assert(
    fc.property(json, pointers, (text, wanted) => {
      const part = readWanted(text, wantedBy(wanted));
      const whole = readExact(text);
      for (const steps of wanted) expect(follow(part, steps)).toEqual(follow(whole, steps));
    }),
    { numRuns: 2_000 },
  );
});

it('nothing else is read', () => {
  const text = '{"id":"7","note":{"long":[1,{"a":"]"}]},"data":{"amount":12.50,"rest":"x"}}';
  const part = readWanted(text, wantedBy([['id'], ['data', 'amount']]));
  expect(part).toEqual({ id: '7', data: { amount: new LosslessNumber('12.50') } });
});

it('comes to an end with any text, in proportion to its length', () => {
  fc.assert(
    fc.property(
      fc.oneof(json, fc.string()),
      fc.nat(),
      fc.string({ maxLength: 3 }),
      pointers,
      (text, at, put, wanted) => {
        const cut = at % (text.length + 1);
        readWanted(text.slice(0, cut) + put + text.slice(cut + put.length), wantedBy(wanted));
        readWanted(text.slice(0, cut), wantedBy(wanted));
      },
    ),
    { numRuns: 2_000 },
  );
  for (const piece of ['{', '[', '"', '\\', ',', ':', '}', ' ', '{"a":', '["\\\\",', '"\\"']) {
    const text = `{"a":${piece.repeat(200_000)}`;
    const before = spentMs();
    readWanted(text, wantedBy([['b']]));
    expect(spentMs() - before, piece).toBeLessThan(500);
  }
});
