import { describe, expect, it } from 'vitest';
import { createInTurns } from '../../src/ingress/events/turns.js';

const numbers = (count: number) => Array.from({ length: count }, (_, i) => i);

describe('long lists', () => {
  it('are worked through in order, with a turn for others after every 250 items', async () => {
    const done: (number | 'turn')[] = [];
    const inTurns = createInTurns(async () => void done.push('turn'));
    const made = await inTurns(1, numbers(600), (n) => {
      done.push(n);
      return n * 2;
    });
    expect(made).toEqual(numbers(600).map((n) => n * 2));
    expect(done).toEqual([...numbers(250), 'turn', ...numbers(500).slice(250), 'turn', ...numbers(600).slice(500)]);
  });

  it('come one after the other; short ones wait for none', async () => {
    const done: string[] = [];
    const inTurns = createInTurns(() => Promise.resolve());
    const log = (name: string) => (n: number) => done.push(`${name}${n}`);
    await Promise.all([
      inTurns(1, numbers(251), log('a')),
      inTurns(1, numbers(251), log('b')),
      inTurns(1, numbers(1), log('short')),
    ]);
    expect(done[0]).toBe('short0');
    expect(done.indexOf('b0')).toBe(done.indexOf('a250') + 1);
  });

  it('of one tenant do not hold up those of another: each has its turn', async () => {
    const done: string[] = [];
    const inTurns = createInTurns(() => Promise.resolve());
    const log = (name: string) => (n: number) => n % 250 === 0 && done.push(`${name}${n}`);
    await Promise.all([
      ...Array.from({ length: 3 }, (_, i) => inTurns(1, numbers(750), log(`a${i}-`))),
      inTurns(2, numbers(500), log('b-')),
      inTurns(3, numbers(251), log('c-')),
    ]);
    expect(done).toEqual([
      ...['a0-0', 'b-0', 'c-0', 'a0-250', 'b-250', 'c-250', 'a0-500'],
      ...['a1-0', 'a1-250', 'a1-500', 'a2-0', 'a2-250', 'a2-500'],
    ]);
  });

  it('go on after one that failed', async () => {
    const inTurns = createInTurns(() => Promise.resolve());
    const failed = inTurns(1, numbers(300), () => {
      throw new Error('broken');
    });
    const next = inTurns(1, numbers(300), (n) => n);
    await expect(failed).rejects.toThrow('broken');
    await expect(next).resolves.toHaveLength(300);
  });
});
