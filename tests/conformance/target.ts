import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Outgoing } from '../../src/message/delivery.js';
import { outgoing } from '../delivery/sample.js';
import { until } from '../support/until.js';

/**
 * What became of one delivery after one try: taken; not taken, and to be tried again under the same number; or refused
 * for good, which ends it.
 */
export type Outcome = 'taken' | 'again' | 'refused';

/** How the receiver answers the deliveries with these numbers, each time they come; it takes all others. */
export interface Behaviour {
  /** Not now. */
  readonly fails?: ReadonlySet<number>;
  /** Never. */
  readonly refuses?: ReadonlySet<number>;
  /** No answer at all. */
  readonly hangs?: ReadonlySet<number>;
}

/** One delivery as it arrived at the receiver, whatever it thought of it. */
export interface Received {
  /** Tells the same delivery at every try: number and channel at least. */
  readonly id: string;
  readonly channel: number;
  readonly number: number;
  readonly type: string | null;
  /** The `waybill-*` fields, decoded, as text. */
  readonly fields: Readonly<Record<string, string>>;
  readonly contentType: string;
  readonly body: Buffer;
}

/** A target of one kind with a real receiver behind it. */
export interface TargetHarness {
  /** Tries deliveries once; outcomes in the order given. */
  deliver(batch: readonly Outgoing[]): Promise<Outcome[]>;
  behave(behaviour: Behaviour): void;
  /** Everything that has arrived, in order; of the deliveries the receiver took only. */
  readonly taken: readonly Received[];
  close(): Promise<void>;
}

/** Some kinds have nobody to read notices (e-mail): such a notice is refused for good. */
export interface KindTraits {
  readonly notices: boolean;
}

/**
 * What every kind of target must do. `create` makes a target of order `channel` named `crm` of tenant `acme`; its
 * deliveries are of the target and tenant they say.
 */
export function targetConformance(kind: string, traits: KindTraits, create: () => Promise<TargetHarness>): void {
  describe(`a ${kind} target`, () => {
    let harness: TargetHarness;
    let number = 0;
    beforeAll(async () => {
      harness = await create();
    });
    afterAll(() => harness.close());

    /** Fresh numbers for each test: they share the receiver. */
    const numbers = (count: number) => Array.from({ length: count }, () => ++number);
    const arrived = (wanted: readonly number[]) =>
      until(
        () => {
          const found = wanted.map((one) => harness.taken.find((received) => received.number === one));
          return found.every((one) => one !== undefined) && found;
        },
        `the receiver to take ${wanted.join(', ')}`,
      );
    const all = (count: number, outcome: Outcome) => new Array<Outcome>(count).fill(outcome);

    test('delivers bytes and fields', async () => {
      const [n] = numbers(1) as [number];
      const body = Buffer.concat([Buffer.from('{"digits":1.10}'), Buffer.from(' Grüße \u{1f69a}')]);
      const sent = outgoing(n, {
        account: 'Zoë % "x"',
        body,
        contentType: 'text/plain; charset=utf-8',
        rung: 1,
        late: true,
      });
      expect(await harness.deliver([sent])).toEqual(['taken']);
      const [received] = (await arrived([n])) as [Received];
      expect(received.body.equals(body)).toBe(true);
      expect(received.contentType).toContain('text/plain');
      expect(received.type).toBe('com.example.invoice.created');
      // Where fields are lines, an empty one may be left out.
      expect({ 'waybill-defects': '', ...received.fields }).toMatchObject({
        'waybill-tenant': 'acme',
        'waybill-channel': '7',
        'waybill-sequence': String(10_000 + n),
        'waybill-delivery': String(n),
        'waybill-epoch': '1767225600',
        'waybill-account': 'Zoë % "x"',
        'waybill-source': 'billing',
        'waybill-rung': '1',
        'waybill-defects': '',
        'waybill-decision': 'rules 3: invoices',
        'waybill-late': 'true',
        'waybill-replay': 'false',
      });
    });

    test('delivers any bytes', async () => {
      const [n] = numbers(1) as [number];
      const body = Buffer.concat([randomBytes(3_000), Buffer.from('\r\n.\r\n\0\n')]);
      await harness.deliver([outgoing(n, { body, contentType: 'application/octet-stream' })]);
      const [received] = (await arrived([n])) as [Received];
      expect(received.body.equals(body)).toBe(true);
    });

    test('keeps the order of each channel', async () => {
      const wanted = numbers(24);
      const batch = wanted.map((n, i) => outgoing(n, { channel: i % 3 }));
      expect(await harness.deliver(batch)).toEqual(all(24, 'taken'));
      await arrived(wanted);
      for (const channel of [0, 1, 2]) {
        const seen = harness.taken.filter((one) => one.channel === channel && wanted.includes(one.number));
        expect(seen.map((one) => one.number)).toEqual(wanted.filter((_, i) => i % 3 === channel));
      }
    });

    test('a failure is answered as such, holds up its own channel alone, and passes', async () => {
      const wanted = numbers(6);
      const [, failing] = wanted as [number, number];
      const batch = wanted.map((n, i) => outgoing(n, { channel: i < 4 ? 1 : 2 }));
      harness.behave({ fails: new Set([failing]) });
      expect(await harness.deliver(batch)).toEqual(['taken', 'again', 'again', 'again', 'taken', 'taken']);
      harness.behave({});
      expect(await harness.deliver(batch.slice(1, 4))).toEqual(all(3, 'taken'));
      await arrived(wanted);
      // Copies of the later ones may have come before; then they come again, in their place.
      const seen = () => harness.taken.filter((one) => one.channel === 1 && wanted.includes(one.number));
      const last = () =>
        String(
          seen()
            .slice(-3)
            .map((one) => one.number),
        );
      await until(() => last() === String(wanted.slice(1, 4)), 'the channel to go on in order');
    });

    test('one that is refused for good ends, and the next goes on', async () => {
      const [refused, next] = numbers(2) as [number, number];
      harness.behave({ refuses: new Set([refused]) });
      expect(await harness.deliver([outgoing(refused)])).toEqual(['refused']);
      expect(await harness.deliver([outgoing(next)])).toEqual(['taken']);
      harness.behave({});
      await arrived([next]);
      // Its number may have come as void by now.
      const messages = harness.taken.filter((one) => one.type !== 'waybill.delivery.void');
      expect(messages.some((one) => one.number === refused)).toBe(false);
    });

    test('a receiver that does not answer is given up in time, and tried again', async () => {
      const [n] = numbers(1) as [number];
      harness.behave({ hangs: new Set([n]) });
      expect(await harness.deliver([outgoing(n)])).toEqual(['again']);
      harness.behave({});
      expect(await harness.deliver([outgoing(n)])).toEqual(['taken']);
      await arrived([n]);
    });

    test('a repeated try carries the same ids', async () => {
      const [n] = numbers(1) as [number];
      await harness.deliver([outgoing(n, { attempts: 0 })]);
      await harness.deliver([outgoing(n, { attempts: 1 })]);
      const copies = await until(() => {
        const found = harness.taken.filter((one) => one.number === n);
        return found.length >= 2 && found;
      }, 'both copies');
      expect(copies[0]?.id).toBe(copies[1]?.id);
      expect(copies[0]?.id).toContain(`7-${n}`);
    });

    test(traits.notices ? 'carries notices of void numbers' : 'refuses notices of void numbers', async () => {
      const [n] = numbers(1) as [number];
      const notice = outgoing(n, {
        what: 'void',
        reason: 'refused',
        contentType: 'application/json',
        body: Buffer.from('{}'),
      });
      expect(await harness.deliver([notice])).toEqual([traits.notices ? 'taken' : 'refused']);
      if (!traits.notices) return;
      const [received] = (await arrived([n])) as [Received];
      expect(received.type).toBe('waybill.delivery.void');
      expect(received.fields['waybill-delivery']).toBe(String(n));
    });

    test('closing settles what is under way', async () => {
      const closing = await create();
      const wanted = numbers(5);
      const sending = closing.deliver(wanted.map((n) => outgoing(n)));
      await closing.close();
      const outcomes = await sending;
      expect(outcomes).toHaveLength(5);
      const firstLeft = outcomes.indexOf('again');
      expect(outcomes.slice(firstLeft === -1 ? 5 : firstLeft).every((outcome) => outcome === 'again')).toBe(true);
    });
  });
}
