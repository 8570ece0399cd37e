import { describe, expect, it } from 'vitest';
import { type ChannelState, channelKey } from '../../src/owner/state.js';
import { createTurns, type Trouble } from '../../src/owner/turns.js';

const channels = [0, 1, 2, 3].map((channel) => ({ held: { tenant: 1, channel, term: 1 } })) as ChannelState[];
const clock = { now: () => 0, monotonic: () => 1_000 };

/** Which channels each of some askings gives. */
function asked(trouble: readonly [channel: number, until: number][], times: number, wanting = channels): number[][] {
  const known = new Map<string, Trouble>(
    trouble.map(([channel, until]) => [channelKey(1, channel), { until, failures: 1 }]),
  );
  const turns = createTurns(known, clock);
  return Array.from({ length: times }, () => turns(wanting).map(({ held }) => held.channel));
}

describe('turns', () => {
  it('are everybody’s while nobody is in trouble', () => {
    expect(asked([], 2)).toEqual([
      [0, 1, 2, 3],
      [0, 1, 2, 3],
    ]);
  });

  it('come to one in trouble, alone, and to all others by turns', () => {
    expect(
      asked(
        [
          [1, 0],
          [3, 0],
        ],
        3,
      ),
    ).toEqual([[1], [0, 2], [1]]);
  });

  it('come to nobody in trouble before it is time', () => {
    expect(asked([[1, 1_001]], 2)).toEqual([
      [0, 2, 3],
      [0, 2, 3],
    ]);
  });

  it('come to one in trouble each time where only such want something', () => {
    expect(asked([[1, 0]], 2, channels.slice(1, 2))).toEqual([[1], [1]]);
  });
});
