import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { JsonBytes } from '../../src/content/json/bytes.js';

/** Short and long, plain and with everything that has to be escaped or takes more than a byte. */
const text = fc.oneof(
  fc.string(),
  fc.string({ unit: 'binary' }),
  fc.string({ minLength: 60, maxLength: 300 }),
  fc.constantFrom('', '"', '\\', '\n', '\u007f', '\u0080', '\ud800', 'x'.repeat(64), 'x'.repeat(65), 'é'.repeat(70)),
);

type Step =
  | { readonly text: string | null }
  | { readonly json: string }
  | { readonly canonical: readonly (string | number)[] };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ text: fc.option(text) }),
  fc.record({ json: text.filter((one) => one.isWellFormed()) }),
  fc.record({ canonical: fc.array(fc.oneof(text, fc.integer())) }),
);

function write(bytes: JsonBytes, steps: readonly Step[]): void {
  bytes.begin();
  for (const one of steps) {
    if ('text' in one) bytes.text(one.text);
    else if ('json' in one) bytes.json(one.json);
    else bytes.canonical(one.canonical);
  }
}

/** Joined out of strings. */
function joined(steps: readonly Step[]): string {
  return steps
    .map((one) => {
      if ('text' in one) return JSON.stringify(one.text);
      return 'json' in one ? one.json : JSON.stringify(one.canonical);
    })
    .join('');
}

describe('JSON as bytes', () => {
  it('is what the same strings joined are, one document after the other', () => {
    const bytes = new JsonBytes();
    fc.assert(
      fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
        write(bytes, steps);
        expect(Buffer.from(bytes.view()).toString()).toBe(joined(steps));
        expect(bytes.copy()).toEqual(Buffer.from(joined(steps)));
      }),
      { numRuns: 500 },
    );
  });

  it('has room for a large document, and for one that grows by single characters', () => {
    const bytes = new JsonBytes();
    const large = '\u20ac'.repeat(1_000_000);
    expect(
      bytes
        .begin()
        .text(large)
        .copy()
        .equals(Buffer.from(JSON.stringify(large))),
    ).toBe(true);
    const list = Array.from({ length: 200_000 }, (_, i) => i % 10);
    expect(bytes.begin().canonical(list).copy().toString()).toBe(JSON.stringify(list));
    expect(bytes.begin().copy()).toHaveLength(0);
  });

  it('is a copy that later documents leave alone', () => {
    const bytes = new JsonBytes();
    const first = bytes.begin().text('first').copy();
    bytes.begin().text('second');
    expect(first.toString()).toBe('"first"');
  });
});
