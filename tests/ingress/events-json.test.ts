import fc from 'fast-check';
import { LosslessNumber, parse as losslessParse } from 'lossless-json';
import { describe, expect, it } from 'vitest';
import { follow, numericText, pointerSteps } from '../../src/content/json/pointer.js';
import { readJson } from '../../src/content/json/read.js';
import { splitArray, splitLines } from '../../src/content/json/split.js';
import { canonicalJson } from '../support/canonical-json.js';

const read = (text: string) => readJson(Buffer.from(text), 0, Buffer.byteLength(text));

function canonical(text: string): string {
  const result = read(text);
  if (!result.ok) throw new Error(result.code);
  return canonicalJson(result.json.value);
}

/** A number as someone may have written it. */
const number = fc
  .tuple(
    fc.constantFrom('', '-'),
    fc.oneof(fc.constant('0'), fc.bigInt({ min: 1n, max: 10n ** 30n }).map(String)),
    fc.oneof(fc.constant(''), fc.stringMatching(/^\.[0-9]{1,25}$/)),
    fc.oneof(fc.constant(''), fc.stringMatching(/^[eE][+-]?[0-9]{1,3}$/)),
  )
  .map((parts) => parts.join(''));

const space = fc.stringMatching(/^[ \t\n\r]{0,3}$/);

/** JSON texts with white space anywhere, escapes, and numbers in every way of writing them; depth at most 5. */
const jsonText = fc.letrec<{ value: string }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, depthIdentifier: 'json' },
    number,
    fc
      .oneof(fc.string({ unit: 'grapheme' }), fc.string({ unit: 'binary' }), fc.constantFrom('\\', '"', '\\"', '\n{['))
      .map((text) => JSON.stringify(text)),
    fc.constantFrom('true', 'false', 'null', '"\\u0041\\/\\ud800"', '{}', '[]', '[ ]'),
    fc
      .tuple(space, fc.array(fc.tuple(space, tie('value'), space), { maxLength: 4 }))
      .map(([gap, items]) => `[${items.length === 0 ? gap : items.map((item) => item.join('')).join(',')}]`),
    fc
      .tuple(
        space,
        fc.array(
          fc.tuple(
            space,
            fc.oneof(fc.constantFrom('a', 'b', '__proto__', '10', 'toString'), fc.string()),
            space,
            space,
            tie('value'),
            space,
          ),
          { maxLength: 4 },
        ),
      )
      .map(([gap, members]) =>
        members.length === 0
          ? `{${gap}}`
          : `{${members.map(([s1, key, s2, s3, value, s4]) => `${s1}${JSON.stringify(key)}${s2}:${s3}${value}${s4}`).join(',')}}`,
      ),
  ),
})).value;

describe('reading JSON', () => {
  it('agrees with JSON.parse on values and with lossless-json on digits', () => {
    fc.assert(
      fc.property(jsonText, (text) => {
        const exact = losslessParse(text, null, {
          parseNumber: (n) => new LosslessNumber(n),
          onDuplicateKey: ({ newValue }) => newValue,
        });
        expect(canonical(text)).toBe(canonicalJson(exact));
        const result = read(text);
        if (result.ok && !result.json.lossless) expect(result.json.value).toEqual(JSON.parse(text));
      }),
      { numRuns: 2000 },
    );
  });

  it('takes what JSON.parse takes and nothing else', () => {
    fc.assert(
      fc.property(
        fc.oneof(jsonText, fc.string()),
        fc.nat(60),
        fc.constantFrom('', '"', '\\', '}', ',', '0', '-', '1.', '\0'),
        (text, at, mark) => {
          const broken = text.slice(0, at) + mark + text.slice(at + 1);
          let valid = true;
          try {
            JSON.parse(Buffer.from(broken).toString());
          } catch {
            valid = false;
          }
          expect(read(broken).ok).toBe(valid);
        },
      ),
      { numRuns: 2000 },
    );
  });

  it.each(['0', '-1', '12.5', '123456789012345', '1e+21', '0.000001'])('reads %s as a double', (text) => {
    expect(read(text)).toEqual({ ok: true, json: { value: Number(text), lossless: false } });
  });

  it.each(['-0', '12.50', '1e2', '1E400', '9007199254740993', '0.1234567890123456789', '1e21'])(
    'keeps the digits of %s',
    (text) => {
      expect(read(` ${text} `)).toEqual({ ok: true, json: { value: new LosslessNumber(text), lossless: true } });
      expect(canonical(`{"a":[${text}]}`)).toBe(`{"a":[${text}]}`);
    },
  );

  it('lets the last of equal keys win, however numbers are written', () => {
    expect(canonical('{"a":1,"a":{"b":2}}')).toBe('{"a":{"b":2}}');
    expect(canonical('{"a":1.0,"a":{"b":2.0}}')).toBe('{"a":{"b":2.0}}');
  });

  it('keeps __proto__ a key, with doubles and without', () => {
    for (const digits of ['1', '1.0']) {
      const result = read(`{"__proto__":{"id":${digits}},"x":1}`);
      if (!result.ok) throw new Error(result.code);
      expect((result.json.value as { id?: unknown }).id).toBeUndefined();
      expect(canonicalJson(result.json.value)).toBe(`{"__proto__":{"id":${digits}},"x":1}`);
    }
  });

  it('reads 64 levels, refuses 65, and does not mind brackets in strings', () => {
    const nested = (levels: number) => '['.repeat(levels) + ']'.repeat(levels);
    expect(read(nested(64)).ok).toBe(true);
    expect(read(nested(65))).toEqual({ ok: false, code: 'json_too_deep' });
    expect(read(`"${'['.repeat(100)}\\"${'{'.repeat(100)}"`).ok).toBe(true);
    expect(read('['.repeat(1_000_000))).toEqual({ ok: false, code: 'json_too_deep' });
  });

  it('reads a long string beside an inexact number without taking its thousandfold in memory', () => {
    const text = `{"a":1.0,"b":"${'x'.repeat(8 * 1024 * 1024)}\\n","c":"${'\\"'.repeat(100_000)}"}`;
    const before = process.memoryUsage().heapUsed;
    const result = read(text);
    if (!result.ok) throw new Error(result.code);
    expect((result.json.value as { b: string }).b).toHaveLength(8 * 1024 * 1024 + 1);
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(100 * 1024 * 1024);
  });
});

describe('splitting', () => {
  const element = jsonText.map((text) => text.replaceAll('\n', ' ')).filter((text) => text.trim() !== '');
  const slices = (body: Buffer, spans: readonly { from: number; to: number }[]) =>
    spans.map(({ from, to }) => body.toString('utf8', from, to));
  const trimmed = (text: string) => text.replace(/^[ \t\r]+|[ \t\r]+$/g, '');

  it('finds every line of NDJSON, verbatim and in order, with any line ends and empty lines', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(element, fc.constantFrom('\n', '\r\n', '\n\n', '\n \t\r\n'))),
        fc.boolean(),
        (lines, ended) => {
          const text = lines.map(([line, end], i) => line + (i === lines.length - 1 && !ended ? '' : end)).join('');
          const body = Buffer.from(text);
          expect(slices(body, splitLines(body, 1000) ?? [])).toEqual(lines.map(([line]) => trimmed(line)));
        },
      ),
    );
  });

  it('finds every element of an array, verbatim and in order', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(space, jsonText, space)), space, space, (elements, before, after) => {
        const body = Buffer.from(`${before}[${elements.map((parts) => parts.join('')).join(',')}]${after}`);
        const spans = splitArray(body, 1000);
        expect(spans && slices(body, spans).map((text) => JSON.parse(text))).toEqual(
          elements.map(([, text]) => JSON.parse(text)),
        );
        expect(spans && slices(body, spans)).toEqual(
          elements.map(([, text]) => text.replace(/^[ \t\n\r]+|[ \t\n\r]+$/g, '')),
        );
      }),
    );
  });

  it.each(['', '{}', '[', '[1', '[1]]', '[1] 2', '[1}', '["a]', 'x[1]'])('sees that %j is no array', (text) => {
    expect(splitArray(Buffer.from(text), 10)).toBeUndefined();
  });

  it('leaves holes for the parser to refuse', () => {
    expect(splitArray(Buffer.from('[1,,2]'), 10)?.map(({ from, to }) => to - from)).toEqual([1, 0, 1]);
    expect(splitArray(Buffer.from('[1,]'), 10)?.map(({ from, to }) => to - from)).toEqual([1, 0]);
    expect(splitArray(Buffer.from('[ ]'), 10)).toEqual([]);
  });

  it('stops one beyond the limit', () => {
    expect(splitLines(Buffer.from('1\n'.repeat(100_000)), 10)).toHaveLength(11);
    expect(splitArray(Buffer.from(`[${'1,'.repeat(100_000)}1]`), 10)).toHaveLength(11);
  });
});

describe('pointers', () => {
  const value = JSON.parse('{"a/b":{"~":[10,{"":"x"}]},"__proto__":{"n":1},"s":"text"}');

  it.each([
    ['', value],
    ['/a~1b/~0/0', 10],
    ['/a~1b/~0/1/', 'x'],
    ['/__proto__/n', 1],
    ['/a~1b/~0/length', undefined],
    ['/a~1b/~0/01', undefined],
    ['/a~1b/~0/2', undefined],
    ['/constructor', undefined],
    ['/a~1b/__proto__', undefined],
    ['/s/0', undefined],
    ['/s/length', undefined],
  ])('%j', (pointer, expected) => {
    expect(follow(value, pointerSteps(pointer))).toBe(expected);
  });

  it.each([
    [12.5, '12.5'],
    [new LosslessNumber('12.50'), '12.50'],
    ['-3e+7', '-3e+7'],
    ['007', null],
    ['12 €', null],
    ['NaN', null],
    ['', null],
    [true, null],
    [null, null],
    [undefined, null],
    [{}, null],
    ['9'.repeat(512), '9'.repeat(512)],
    [new LosslessNumber('9'.repeat(513)), null],
  ])('the value of %j is %j', (given, expected) => {
    expect(numericText(given)).toBe(expected);
  });
});
