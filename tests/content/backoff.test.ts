import { expect, it } from 'vitest';
import { restAfter } from '../../src/content/backoff.js';

it('replaces the first dead child at once, and each further one twice as late, up to 5 s', () => {
  expect([1, 2, 3, 4, 5, 6, 7, 8, 1_000].map(restAfter)).toEqual([0, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
});
