import { createHash, generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type Finding,
  NO_CHAIN,
  NO_HASH,
  nextExtraChain,
  nextPlansHash,
  type PlanRow,
  PlanWalk,
  type WalkEnd,
} from '../../src/delivery/chain.js';
import { type Checkpoint, fingerprintOf, isSigned, signCheckpoint } from '../../src/delivery/checkpoint.js';
import { type Decided, nextChain, planRuns } from '../../src/delivery/plan.js';

const sha = (text: string) => createHash('sha256').update(text).digest();

/** A channel's books as its owner writes them. */
interface Books {
  readonly hashes: Map<number, Buffer>;
  readonly plans: PlanRow[];
  readonly end: WalkEnd;
}

/** How many messages each plan of the stream takes, to how many targets, and what is sent again after it. */
interface Step {
  readonly n: number;
  readonly targets: number;
  readonly again: readonly number[];
}

const steps = fc.array(
  fc.record({
    n: fc.integer({ min: 1, max: 6 }),
    targets: fc.integer({ min: 0, max: 3 }),
    again: fc.array(fc.nat(), { maxLength: 2 }),
  }),
  { minLength: 1, maxLength: 8 },
);

function keep(given: readonly Step[]): Books {
  const hashes = new Map<number, Buffer>();
  const plans: PlanRow[] = [];
  const lines = new Map<number, number>();
  let [chain, extraChain, planned] = [NO_CHAIN, NO_CHAIN, 0];
  const decided = (sequence: number, targets: number): Decided => ({
    sequence,
    rung: 0,
    mode: targets > 0 ? 'deliver' : 'wait',
    decider: { by: 'rules', set: 1, rules: ['all'] },
    targets: Array.from({ length: targets }, (_, i) => i + 1),
    late: false,
    replay: false,
    why: null,
  });
  const plan = (kind: PlanRow['kind'], messages: readonly Decided[], after: Buffer) => {
    const sequences = messages.map(({ sequence }) => sequence);
    const [first, last] = [Math.min(...sequences), Math.max(...sequences)];
    const runs = planRuns(messages, lines, () => 'now');
    plans.push({ number: plans.length + 1, epoch: 1, kind, first, last, runs, chain: after });
  };
  for (const { n, targets, again } of given) {
    const messages = Array.from({ length: n }, (_, i) => decided(planned + 1 + i, targets));
    for (const { sequence } of messages) hashes.set(sequence, sha(`message ${sequence}`));
    const hashed = (some: readonly Decided[]) =>
      some.map(({ sequence }) => ({ sequence, sha256: hashes.get(sequence) as Buffer }));
    chain = nextChain(chain, hashed(messages));
    planned += n;
    plan('stream', messages, chain);
    for (const any of again) {
      const one = [decided((any % planned) + 1, 2)];
      extraChain = nextExtraChain(extraChain, plans.length + 1, hashed(one));
      plan('extra', one, extraChain);
    }
  }
  const end = { planned, lastPlan: plans.length, chain, extraChain };
  return { hashes, plans, end: { ...end, lines: [...lines].map(([target, last]) => [target, 1, last] as const) } };
}

function walk({ hashes, plans, end }: Books): Finding[] {
  const findings: Finding[] = [];
  const along = new PlanWalk(
    { channel: 0, plan: 1, sequence: 1, chain: NO_CHAIN, extraChain: NO_CHAIN, plans: NO_CHAIN, fromTheFirst: true },
    (finding) => findings.push(finding),
  );
  for (const plan of plans) along.take(plan, (sequence) => hashes.get(sequence));
  along.end(end);
  return findings;
}

describe('walking along a channel’s plans', () => {
  it('finds nothing in true books, however they came about', () => {
    fc.assert(
      fc.property(steps, (given) => {
        expect(walk(keep(given))).toEqual([]);
      }),
    );
  });

  it('finds any one message altered, and names its plans', () => {
    fc.assert(
      fc.property(steps, fc.nat(), (given, any) => {
        const books = keep(given);
        const sequence = (any % books.hashes.size) + 1;
        books.hashes.set(sequence, sha('another'));
        const findings = walk(books);
        const about = books.plans.filter(({ first, last }) => first <= sequence && sequence <= last);
        expect(findings.map(({ code }) => code)).toEqual(about.map(() => 'chain_broken'));
        expect(findings.map(({ plan }) => plan)).toEqual(about.map(({ number }) => number));
      }),
    );
  });

  it('finds any two messages of a plan that changed places, by their ids', () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 40 }), fc.nat(), fc.nat(), (n, a, b) => {
        const books = keep([{ n, targets: 1, again: [] }]);
        const [one, other] = [(a % n) + 1, (b % n) + 1];
        fc.pre(one !== other);
        books.hashes.set(one, sha(`message ${other}`));
        books.hashes.set(other, sha(`message ${one}`));
        const [first, second] = [Math.min(one, other), Math.max(one, other)];
        expect(walk(books)).toMatchObject([
          { code: 'chain_broken', detail: expect.stringContaining(`0-${first} and 0-${second} have changed places`) },
        ]);
      }),
    );
  });

  it('finds any plan removed, and goes on after it', () => {
    fc.assert(
      fc.property(steps, fc.nat(), (given, any) => {
        const books = keep(given);
        const [gone] = books.plans.splice(any % books.plans.length, 1) as [PlanRow];
        const findings = walk(books);
        expect(findings[0]).toMatchObject({ code: 'plan_missing', plan: gone.number });
        const said = new Set(findings.slice(1).map(({ code }) => code));
        said.delete('not_planned');
        expect([...said]).toEqual([]);
      }),
    );
  });

  it('finds any two plans whose numbers changed places', () => {
    fc.assert(
      fc.property(steps, fc.nat(), (given, any) => {
        const books = keep(given);
        fc.pre(books.plans.length > 1);
        const at = any % (books.plans.length - 1);
        const [a, b] = books.plans.slice(at, at + 2) as [PlanRow, PlanRow];
        books.plans.splice(at, 2, { ...b, number: a.number }, { ...a, number: b.number });
        expect(walk(books).length).toBeGreaterThan(0);
      }),
    );
  });

  it('lives through whatever stands where runs should', () => {
    fc.assert(
      fc.property(steps, fc.nat(), fc.jsonValue(), (given, any, runs) => {
        const books = keep(given);
        const at = any % books.plans.length;
        books.plans[at] = { ...(books.plans[at] as PlanRow), runs };
        expect(walk(books).length).toBeGreaterThan(0);
      }),
    );
  });

  it('says nothing of a message that is missing: that is said of the message itself', () => {
    const books = keep([{ n: 3, targets: 1, again: [1] }]);
    books.hashes.delete(2);
    expect(walk(books)).toEqual([]);
    books.hashes.set(2, NO_HASH);
    expect(walk(books)).toHaveLength(2);
  });
});

describe('the hash over whole plans', () => {
  const [plan] = keep([{ n: 3, targets: 1, again: [] }]).plans as [PlanRow];
  const runs = plan.runs as object[];

  it('is over everything but reasons', () => {
    const before = nextPlansHash(NO_CHAIN, plan);
    expect(nextPlansHash(NO_CHAIN, { ...plan, runs: runs.map((run) => ({ ...run, why: 'x' })) })).toEqual(before);
    for (const other of [
      { ...plan, number: 2 },
      { ...plan, epoch: 2 },
      { ...plan, kind: 'extra' as const },
      { ...plan, first: 2 },
      { ...plan, last: 4 },
      { ...plan, runs: runs.map((run) => ({ ...run, m: 'close' })) },
      { ...plan, chain: NO_CHAIN },
    ]) {
      expect(nextPlansHash(NO_CHAIN, other)).not.toEqual(before);
    }
    expect(nextPlansHash(sha('x'), plan)).not.toEqual(before);
  });
});

describe('a checkpoint', () => {
  const key = () => generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'der' });
  const of = { installation: 'one', tenant: 1, channel: 2 };
  const checkpoint: Checkpoint = {
    generation: 3,
    through: 100,
    plan: 7,
    planned: 98,
    chain: sha('a'),
    extraChain: sha('b'),
    plans: sha('c'),
    hashes: sha('d'),
    findings: ['x'],
    madeAt: new Date('2026-01-31T12:00:00Z'),
  };

  it('holds with the key it was signed with, and with no change whatever', () => {
    const ours = key();
    const signature = signCheckpoint(of, checkpoint, ours);
    expect(isSigned(of, checkpoint, signature, ours)).toBe(true);
    expect(isSigned(of, checkpoint, signature, key())).toBe(false);
    for (const other of [
      { ...of, installation: 'two' },
      { ...of, tenant: 2 },
      { ...of, channel: 3 },
    ])
      expect(isSigned(other, checkpoint, signature, ours)).toBe(false);
    const changed: Partial<Checkpoint>[] = [
      { generation: 4 },
      { through: 101 },
      { plan: 8 },
      { planned: 99 },
      { chain: sha('x') },
      { extraChain: sha('x') },
      { plans: sha('x') },
      { hashes: sha('x') },
      { findings: [] },
      { madeAt: new Date(0) },
    ];
    expect(new Set(changed.flatMap((one) => Object.keys(one)))).toEqual(new Set(Object.keys(checkpoint)));
    for (const one of changed) expect(isSigned(of, { ...checkpoint, ...one }, signature, ours)).toBe(false);
  });

  it('is signed with a key that has one name', () => {
    const [ours, other] = [key(), key()];
    expect(fingerprintOf(ours)).toMatch(/^SHA256:[A-Za-z0-9+/]{43}$/);
    expect(fingerprintOf(ours)).toBe(fingerprintOf(Buffer.from(ours)));
    expect(fingerprintOf(ours)).not.toBe(fingerprintOf(other));
  });
});
