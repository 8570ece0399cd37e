import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Confirms, type PublishResult } from '../../src/broker/confirms.js';

const LATE: PublishResult = { result: 'interrupted', reason: 'unconfirmed' };
const GONE: PublishResult = { result: 'interrupted', reason: 'gone' };

function collect() {
  const answers: PublishResult[][] = [];
  return { answers, answer: (results: PublishResult[]) => answers.push(results) };
}

const names = (results: readonly PublishResult[] | undefined) => results?.map(({ result }) => result);

test('a confirm for several settles everything up to its tag, over the borders of calls', () => {
  const confirms = new Confirms<string>();
  const first = collect();
  const second = collect();
  confirms.begin(['a', 'b'], first.answer);
  confirms.begin(['c', 'd'], second.answer);
  confirms.confirmed(3, true, 'ack');
  expect(names(first.answers[0])).toEqual(['confirmed', 'confirmed']);
  expect(second.answers).toEqual([]);
  confirms.confirmed(4, false, 'nack');
  expect(names(second.answers[0])).toEqual(['confirmed', 'nacked']);
});

test('confirms out of order go to the message they name', () => {
  const confirms = new Confirms<string>();
  const { answers, answer } = collect();
  confirms.begin(['a', 'b', 'c'], answer);
  confirms.confirmed(3, false, 'ack');
  confirms.confirmed(1, false, 'nack');
  confirms.confirmed(2, true, 'ack');
  expect(names(answers[0])).toEqual(['nacked', 'confirmed', 'confirmed']);
});

test('a returned message is unroutable although RabbitMQ acks it', () => {
  const confirms = new Confirms<string>();
  const { answers, answer } = collect();
  confirms.begin(['a', 'b', 'a'], answer);
  confirms.returned((message) => message === 'a');
  confirms.returned((message) => message === 'a');
  confirms.confirmed(3, true, 'ack');
  expect(names(answers[0])).toEqual(['returned', 'confirmed', 'returned']);
});

test('a call that has waited too long gets what is known, and its late confirms go nowhere', () => {
  const confirms = new Confirms<string>();
  const { answers, answer } = collect();
  const batch = confirms.begin(['a', 'b'], answer);
  confirms.confirmed(1, false, 'ack');
  confirms.abandon(batch, LATE);
  expect(names(answers[0])).toEqual(['confirmed', 'interrupted']);
  expect(confirms.leftOver()).toBe(true);
  confirms.confirmed(2, false, 'ack');
  expect(confirms.leftOver()).toBe(false);
  expect(answers).toHaveLength(1);
});

test('when the channel ends, what is open is answered, and late confirms change nothing', () => {
  const confirms = new Confirms<string>();
  const { answers, answer } = collect();
  confirms.begin(['a', 'b'], answer);
  confirms.confirmed(1, false, 'ack');
  expect(confirms.open()).toEqual(['b']);
  confirms.end(() => GONE);
  expect(names(answers[0])).toEqual(['confirmed', 'interrupted']);
  confirms.confirmed(2, false, 'ack');
  expect(answers).toHaveLength(1);
});

test('an empty call is answered at once', () => {
  const confirms = new Confirms<string>();
  const { answers, answer } = collect();
  confirms.begin([], answer);
  expect(answers).toEqual([[]]);
});

test('whatever the sizes of calls and the order of confirms: one answer a call, each message its own', () => {
  const fates = fc.array(fc.array(fc.constantFrom('ack', 'nack', 'return'), { minLength: 1, maxLength: 8 }), {
    minLength: 1,
    maxLength: 6,
  });
  fc.assert(
    fc.property(fates, fc.infiniteStream(fc.nat()), (calls, randoms) => {
      const confirms = new Confirms<number>();
      const fate = calls.flat();
      const answers: (PublishResult[] | undefined)[] = calls.map(() => undefined);
      let tag = 0;
      calls.forEach((call, i) => {
        const messages = call.map(() => tag++);
        confirms.begin(messages, (results) => {
          expect(answers[i]).toBeUndefined();
          answers[i] = results;
        });
      });
      fate.forEach((what, message) => {
        if (what === 'return') confirms.returned((m) => m === message);
      });
      const open = fate.map((_, index) => index);
      while (open.length > 0) {
        const at = (randoms.next().value as number) % open.length;
        const index = open[at] as number;
        const verdict = fate[index] === 'nack' ? 'nack' : 'ack';
        const upTo = open.slice(0, at + 1);
        const multiple = upTo.every((i) => (fate[i] === 'nack') === (verdict === 'nack'));
        confirms.confirmed(index + 1, multiple, verdict);
        open.splice(multiple ? 0 : at, multiple ? at + 1 : 1);
      }
      const expected = { ack: 'confirmed', nack: 'nacked', return: 'returned' } as const;
      expect(answers.flatMap(names)).toEqual(fate.map((what) => expected[what]));
      expect(confirms.open()).toEqual([]);
    }),
  );
});
