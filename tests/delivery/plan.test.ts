import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Decided, deciderText, deliveriesOf, nextChain, planRuns } from '../../src/delivery/plan.js';

const decided = fc.record({
  rung: fc.constantFrom(0, 0, 0, 1),
  mode: fc.constantFrom('deliver' as const, 'deliver' as const, 'close' as const, 'wait' as const),
  decider: fc.constantFrom(
    { by: 'rules', set: 1, rules: ['a'] } as const,
    { by: 'rules', set: 1, rules: ['a'] } as const,
    { by: 'person', who: 'x', version: 2 } as const,
    { by: 'suggestion', set: 1, model: 3, scores: [[1, 0.7, 0.6]] } as const,
    { by: 'suggestion', set: 1, model: 3, scores: [[1, 0.7, 0.6]] } as const,
    { by: 'suggestion', set: 1, model: 3, scores: [[1, 0.71, 0.6]] } as const,
  ),
  targets: fc.uniqueArray(fc.integer({ min: 1, max: 4 }), { maxLength: 3 }),
  late: fc.boolean(),
  replay: fc.constant(false),
  why: fc.constantFrom(null, null, 'reason'),
  portion: fc.constantFrom(null, null, null, { fields: ['amount'] }, { fields: ['date'] }),
});

function inStream(messages: readonly Omit<Decided, 'sequence'>[], first = 1): Decided[] {
  return messages.map((message, i) => ({ ...message, sequence: first + i }));
}

describe('planRuns', () => {
  it('says of every message exactly what was decided, whatever it puts together', () => {
    fc.assert(
      fc.property(fc.array(decided, { maxLength: 60 }), (given) => {
        const messages = inStream(given);
        const runs = planRuns(messages, new Map(), (target) => (target % 2 === 0 ? 'now' : 'later'));
        const told = runs.flatMap((run) =>
          Array.from({ length: run.n }, (_, i) => ({
            sequence: run.s + i,
            rung: run.r,
            mode: run.m,
            decider: run.d,
            targets: run.t.map(([target]) => target),
            late: run.late ?? false,
            replay: run.replay ?? false,
            why: run.why ?? null,
            portion: run.p ?? null,
          })),
        );
        expect(told).toEqual(messages);
      }),
    );
  });

  it('numbers the deliveries of each target without a gap from where its line stood', () => {
    fc.assert(
      fc.property(fc.array(decided, { maxLength: 60 }), fc.nat(1000), (given, stood) => {
        const lines = new Map([[1, stood]]);
        const runs = planRuns(inStream(given), lines, () => 'now');
        const byTarget = new Map<number, number[]>();
        for (const { target, number } of deliveriesOf(runs)) {
          byTarget.set(target, [...(byTarget.get(target) ?? []), number]);
        }
        for (const [target, numbers] of byTarget) {
          const first = target === 1 ? stood : 0;
          expect(numbers).toEqual(numbers.map((_, i) => first + i + 1));
          expect(lines.get(target)).toBe(first + numbers.length);
        }
      }),
    );
  });

  it('makes one run of a thousand messages under one rule', () => {
    const rule = { by: 'rules', set: 7, rules: ['all'] } as const;
    const message = {
      rung: 0,
      mode: 'deliver',
      decider: rule,
      targets: [3],
      late: false,
      replay: false,
      why: null,
    } as const;
    const runs = planRuns(
      inStream(
        Array.from({ length: 1000 }, () => message),
        501,
      ),
      new Map([[3, 9]]),
      () => 'now',
    );
    expect(runs).toEqual([{ s: 501, n: 1000, r: 0, m: 'deliver', d: rule, t: [[3, 10, 'now']] }]);
  });
});

describe('deciderText', () => {
  it.each([
    [{ by: 'rules', set: 3, rules: ['invoices', 'big'] } as const, 'rules 3: invoices, big'],
    [{ by: 'rules', set: 3, rules: [] } as const, 'rules 3'],
    [{ by: 'person', who: 'anna', version: 2 } as const, 'person anna v2'],
    [{ by: 'suggestion', set: 3, model: 5, scores: [[1, 0.93, 0.6]] } as const, 'suggestion 5: 0.93'],
    [{ by: 'suggestion', set: 3, model: 5, scores: [[2, 0.93, 0.6]] } as const, 'suggestion 5'],
  ])('%o', (decider, text) => {
    expect(deciderText(decider, 1)).toBe(text);
  });
});

describe('nextChain', () => {
  const message = (sequence: number, fill: number) => ({ sequence, sha256: Buffer.alloc(32, fill) });

  it('changes with every message, its number and its place', () => {
    const start = Buffer.alloc(32);
    const chain = nextChain(start, [message(1, 1), message(2, 2)]);
    expect(nextChain(start, [message(1, 1), message(2, 2)])).toEqual(chain);
    for (const other of [
      [message(2, 2), message(1, 1)],
      [message(1, 1), message(3, 2)],
      [message(1, 1), message(2, 3)],
      [message(1, 1)],
    ]) {
      expect(nextChain(start, other)).not.toEqual(chain);
    }
    expect(nextChain(chain, [message(1, 1), message(2, 2)])).not.toEqual(chain);
  });
});

describe('portions', () => {
  const decider = { by: 'rules', set: 1, rules: [] } as const;
  const base = { rung: 0, mode: 'deliver', decider, targets: [1, 2], late: false, replay: false, why: null } as const;

  it('never stand in one run with another portion, or with the whole', () => {
    const portions = [
      null,
      { part: 1 },
      { part: 2 },
      { fields: ['a'] },
      { fields: ['a', 'b'] },
      { part: 1, fields: ['a'] },
    ];
    for (const one of portions) {
      for (const other of portions) {
        const runs = planRuns(
          inStream([
            { ...base, portion: one },
            { ...base, portion: other },
          ]),
          new Map(),
          () => 'later',
        );
        expect(runs).toHaveLength(one === other ? 1 : 2);
        expect(runs.map(({ p = null }) => p)).toEqual(one === other ? [one] : [one, other]);
      }
    }
  });

  it('of which a part has to be fetched are not sent at once, and nothing of their lines goes before them', () => {
    const messages = [
      base,
      { ...base, targets: [2], portion: { part: 1 } },
      base,
      { ...base, portion: { fields: ['a'] } },
    ];
    const runs = planRuns(inStream(messages), new Map(), () => 'now');
    const sent = [...deliveriesOf(runs)].map(({ sequence, target, how }) => `${sequence} to ${target} ${how}`);
    expect(sent).toEqual([
      '1 to 1 now',
      '1 to 2 now',
      '2 to 2 later',
      '3 to 1 now',
      '3 to 2 later',
      '4 to 1 now',
      '4 to 2 later',
    ]);
  });
});
