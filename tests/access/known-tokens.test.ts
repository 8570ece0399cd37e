import { describe, expect, test, vi } from 'vitest';
import { KnownTokens } from '../../src/access/known-tokens.js';
import type { Principal } from '../../src/access/principal.js';
import { settableClock } from '../support/clock.js';

const principal: Principal = {
  kind: 'token',
  tenant: { id: 1, name: 'default', channels: 4 },
  who: 'token ci',
  permissions: new Set(['events.send']),
  csrf: null,
};

function known(find: (hash: string) => Promise<Principal | undefined>, capacity?: number) {
  const clock = settableClock();
  return { clock, tokens: new KnownTokens(find, clock.monotonic, capacity) };
}

describe('a token that was looked up', () => {
  test('is known for a second and no longer', async () => {
    const { clock, tokens } = known(async () => principal);
    expect(tokens.fresh('a')).toBeUndefined();
    await tokens.lookUp('a');
    clock.advance(399);
    expect(tokens.fresh('a')).toBe(principal);
    clock.advance(601);
    expect(tokens.fresh('a')).toBeUndefined();
    expect(tokens.seen('a')).toBe(true);
  });

  test('is looked up again beside its use before the second is over', async () => {
    const find = vi.fn(async (): Promise<Principal | undefined> => principal);
    const { clock, tokens } = known(find);
    await tokens.lookUp('a');
    clock.advance(500);
    expect([tokens.fresh('a'), tokens.fresh('a')]).toEqual([principal, principal]);
    expect(find).toHaveBeenCalledTimes(2);
    await tokens.lookUp('a');
    clock.advance(999);
    expect(tokens.fresh('a')).toBe(principal);
  });

  test('is refused as soon as that look-up finds it revoked', async () => {
    let answer: Principal | undefined = principal;
    const { clock, tokens } = known(async () => answer);
    await tokens.lookUp('a');
    answer = undefined;
    clock.advance(500);
    tokens.fresh('a');
    await tokens.lookUp('a');
    expect(tokens.fresh('a')).toBeUndefined();
    expect(tokens.seen('a')).toBe(false);
  });

  test('stays good only for its second when the look-up fails', async () => {
    let failing = false;
    const { clock, tokens } = known(async () => {
      if (failing) throw new Error('no database');
      return principal;
    });
    await tokens.lookUp('a');
    failing = true;
    clock.advance(500);
    expect(tokens.fresh('a')).toBe(principal);
    await expect(tokens.lookUp('a')).rejects.toThrow('no database');
    clock.advance(500);
    expect(tokens.fresh('a')).toBeUndefined();
  });

  test('is forgotten when it is told to', async () => {
    const { tokens } = known(async () => principal);
    await tokens.lookUp('a');
    tokens.forget('a');
    expect(tokens.fresh('a')).toBeUndefined();
  });
});

test('many callers with one token share a look-up', async () => {
  const find = vi.fn(async () => principal);
  const { tokens } = known(find);
  await Promise.all([tokens.lookUp('a'), tokens.lookUp('a'), tokens.lookUp('a')]);
  expect(find).toHaveBeenCalledTimes(1);
});

test('an unknown token is not remembered, and of too many the oldest goes', async () => {
  const { tokens } = known(async (hash) => (hash === 'bad' ? undefined : principal), 2);
  for (const hash of ['bad', 'a', 'b', 'a', 'c']) await tokens.lookUp(hash);
  expect(['bad', 'a', 'b', 'c'].filter((hash) => tokens.seen(hash))).toEqual(['a', 'c']);
});
