import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type MeterDefinition, meterSchema } from '../../src/billing/definitions.js';
import { readValue } from '../../src/billing/exact.js';
import { type Measurement, type Meter, Meters } from '../../src/billing/meter.js';

let ids = 0;
function meter(definition: Partial<MeterDefinition> & Pick<MeterDefinition, 'aggregation'>, since = {}): Meter {
  ids++;
  const parsed = meterSchema.parse({ type: 'usage', ...definition });
  return { id: ids, name: `m${ids}`, definition: parsed, since, until: null };
}

function event(data: string, given: { type?: string; subject?: string | null; source?: string } = {}) {
  const { type = 'usage', subject = 'acme', source = 'feed' } = given;
  const attributes = { specversion: '1.0', id: '1', source: '/s', type, ...(subject !== null && { subject }) };
  const raw = `${JSON.stringify(attributes).slice(0, -1)},"data":${data}}`;
  return { kind: 'event' as const, source, account: subject ?? source, type, meta: null, raw: Buffer.from(raw) };
}

const PLACE = { channel: 0, sequence: 10 };

function measured(definition: Parameters<typeof meter>[0], data: string): Measurement {
  return new Meters([meter(definition)]).measure(event(data), PLACE);
}

/** The value, or why there is none. */
function said(definition: Parameters<typeof meter>[0], data: string): string | null | undefined {
  const { measured: found, problems } = measured(definition, data);
  return problems[0]?.code ?? found[0]?.value;
}

describe('a value', () => {
  const sum = { aggregation: 'sum' as const, value: '/data/n' };

  it.each([
    ['{"n":1}', '1'],
    ['{"n":0.1}', '0.1'],
    ['{"n":12.50}', '12.50'],
    ['{"n":12345678901234567890.12345678901234567890}', '12345678901234567890.12345678901234567890'],
    ['{"n":1e3}', '1e3'],
    ['{"n":"7.25"}', '7.25'],
    ['{"n":-3}', '-3'],
    ['{}', 'value_missing'],
    ['{"n":null}', 'value_missing'],
    ['{"n":"NaN"}', 'value_not_a_number'],
    ['{"n":"Infinity"}', 'value_not_a_number'],
    ['{"n":"12,5"}', 'value_not_a_number'],
    ['{"n":""}', 'value_not_a_number'],
    ['{"n":" 1"}', 'value_not_a_number'],
    ['{"n":"0x10"}', 'value_not_a_number'],
    ['{"n":true}', 'value_not_a_number'],
    ['{"n":[1]}', 'value_not_a_number'],
    [`{"n":${'9'.repeat(400)}}`, 'value_too_long'],
    [`{"n":${'9'.repeat(40)}}`, '9'.repeat(40)],
    [`{"n":${'9'.repeat(41)}}`, 'value_too_long'],
    [`{"n":0.${'1'.repeat(20)}}`, `0.${'1'.repeat(20)}`],
    [`{"n":0.${'1'.repeat(21)}}`, 'value_too_long'],
    ['{"n":1e400}', 'value_too_long'],
    ['{"n":1e-400}', 'value_too_long'],
    [`{"n":"${'1'.repeat(100_000)}"}`, 'value_too_long'],
    [`{"n":"${'x'.repeat(100_000)}"}`, 'value_not_a_number'],
  ])('%s', (data, expected) => {
    expect(said(sum, data)).toBe(expected);
  });

  it('keeps the text of every number that fits', () => {
    fc.assert(
      fc.property(
        fc.bigInt({ min: -(10n ** 40n) + 1n, max: 10n ** 40n - 1n }),
        fc.integer({ min: 0, max: 20 }),
        (n, scale) => {
          const digits = String(n < 0n ? -n : n).padStart(scale + 1, '0');
          const text = `${n < 0n ? '-' : ''}${digits.slice(0, digits.length - scale)}${scale > 0 ? `.${digits.slice(-scale)}` : ''}`;
          expect(readValue(text)).toEqual({ ok: true, text });
        },
      ),
    );
  });
});

describe('a meter', () => {
  it('counts the types of its pattern, of its source, and what its filter lets through', () => {
    const meters = new Meters([
      meter({
        aggregation: 'count',
        type: 'api.*',
        source: 'feed',
        filter: { '/data/ok': ['true'], '/data/n': ['1', '2'] },
      }),
    ]);
    const count = (...given: Parameters<typeof event>) => meters.measure(event(...given), PLACE).measured.length;
    expect(count('{"ok":true,"n":1}', { type: 'api.call' })).toBe(1);
    expect(count('{"ok":true,"n":3}', { type: 'api.call' })).toBe(0);
    expect(count('{"ok":false,"n":1}', { type: 'api.call' })).toBe(0);
    expect(count('{"ok":true,"n":1}', { type: 'db.call' })).toBe(0);
    expect(count('{"ok":true,"n":1}', { type: 'api.call', source: 'other' })).toBe(0);
    expect(meters.measure(event('{}', { type: 'db.call' }), PLACE).unmetered).toBe(true);
    expect(meters.measure(event('{}', { type: 'api.call' }), PLACE).unmetered).toBe(false);
  });

  it('tells usage apart by its dimensions, in one spelling', () => {
    const by = { aggregation: 'count' as const, dimensions: { zone: '/data/z', region: '/data/r' } };
    const group = (data: string) => measured(by, data).measured[0]?.dimensions ?? measured(by, data).problems[0]?.code;
    expect(group('{"r":"eu","z":1.50}')).toBe('{"region":"eu","zone":"1.50"}');
    expect(group('{"z":null}')).toBe('{"region":"","zone":""}');
    expect(group('{"r":["eu"]}')).toBe('dimension_invalid');
    expect(group(`{"r":"${'x'.repeat(129)}"}`)).toBe('dimension_invalid');
    expect(group('{"r":"\\u0000"}')).toBe('dimension_invalid');
  });

  it('refuses another unit, and who names none', () => {
    const bytes = { aggregation: 'sum' as const, value: '/data/n', unit: 'GB', unitFrom: '/data/unit' };
    expect(said(bytes, '{"n":1,"unit":"GB"}')).toBe('1');
    expect(said(bytes, '{"n":1,"unit":"MB"}')).toBe('unit_wrong');
    expect(said(bytes, '{"n":1}')).toBe('unit_wrong');
  });

  it('charges nobody for an event without an account', () => {
    const meters = new Meters([meter({ aggregation: 'count' })]);
    expect(meters.measure(event('{}', { subject: null }), PLACE).problems[0]?.code).toBe('account_missing');
    // Somebody may have the name of a source.
    expect(meters.measure(event('{}', { subject: 'feed' }), PLACE).measured).toHaveLength(1);
  });

  it('tells members apart by what they are, not by how they are written', () => {
    const who = { aggregation: 'unique' as const, value: '/data/u' };
    const member = (data: string) => measured(who, data).measured[0]?.member ?? measured(who, data).problems[0]?.code;
    expect(member('{"u":1.0}')).toBe(member('{"u":1}'));
    expect(member('{"u":10}')).toBe(member('{"u":1e1}'));
    expect(member('{"u":"1"}')).not.toBe(member('{"u":1}'));
    expect(member('{"u":true}')).not.toBe(member('{"u":"true"}'));
    expect(member('{"u":{}}')).toBe('member_invalid');
    expect(member('{}')).toBe('value_missing');
  });

  it('counts from the mark at which it began to the one at which it ended', () => {
    const ended: Meter = { ...meter({ aggregation: 'count' }, { 0: 10 }), until: { 0: 12 } };
    const meters = new Meters([ended]);
    const counted = [9, 10, 11, 12, 13].filter(
      (sequence) => meters.measure(event('{}'), { channel: 0, sequence }).measured.length > 0,
    );
    expect(counted).toEqual([11, 12]);
  });

  it('reads events of either mode, and other messages under /data', () => {
    const meters = new Meters([meter({ aggregation: 'sum', value: '/data/n', dimensions: { region: '/region' } })]);
    const attributes = JSON.stringify({ specversion: '1.0', id: '1', subject: 'acme', region: 'eu' });
    const binary = { ...event('{}'), meta: attributes, raw: Buffer.from('{"n":2.50}') };
    expect(meters.measure(binary, PLACE).measured[0]).toMatchObject({ value: '2.50', dimensions: '{"region":"eu"}' });
    const hook = { ...event('{}'), kind: 'webhook' as const, meta: '{"headers":{}}', raw: Buffer.from('{"n":3}') };
    expect(meters.measure(hook, PLACE).measured[0]).toMatchObject({ value: '3', dimensions: '{"region":""}' });
    const mail = { ...event('{}'), kind: 'mail' as const, raw: Buffer.from('Subject: x') };
    expect(meters.measure(mail, PLACE).problems[0]?.code).toBe('value_missing');
  });

  it('says what is wrong with its definition', () => {
    const bad = (definition: object) => meterSchema.safeParse({ type: 'x', ...definition }).error?.issues[0]?.message;
    expect(bad({ aggregation: 'sum' })).toBe('"sum" needs to know where');
    expect(bad({ aggregation: 'count', value: '/data/n' })).toBe('a count looks at no value; leave it out');
    expect(bad({ aggregation: 'count', unitFrom: '/data/u' })).toBe('must be said, to compare with');
    expect(bad({ aggregation: 'sum', value: 'data.n' })).toBe('a JSON pointer such as /data/amount');
  });
});
