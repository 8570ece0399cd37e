import { expect, test } from 'vitest';
import { createSenders } from '../../src/app/senders.js';
import { type Target, webhookTargetSchema } from '../../src/delivery/target.js';
import { realClock } from '../support/clock.js';

const target = (id: number): Target => ({
  id,
  name: `t-${id}`,
  tenant: { id: 1, name: 'default', channels: 4 },
  definition: webhookTargetSchema.parse({ kind: 'webhook', url: 'https://example.com/hook' }),
  paused: null,
});

test('a target has one sender, until it is defined anew or gone', async () => {
  const failures: unknown[] = [];
  const deps = { broker: null, unconfirmedMs: 1000, clock: realClock, host: 'example.com', installation: 'i' };
  const senders = createSenders(deps, (error) => failures.push(error));
  const [one, two] = [target(1), target(2)];
  const [first, second] = [senders.of(one), senders.of(two)];
  expect(senders.of(one)).toBe(first);
  senders.keepOnly([one]);
  expect(senders.of(one)).toBe(first);
  expect(senders.of(two)).not.toBe(second);
  await senders.close();
  expect(failures).toEqual([]);
});
