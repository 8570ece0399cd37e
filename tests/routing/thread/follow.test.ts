import { describe, expect, it } from 'vitest';
import { type Earlier, followed, knownTo } from '../../../src/routing/thread/follow.js';

function message(number: number, targets: number[] | null, about: Partial<Earlier> = {}): Earlier {
  return { channel: 0, sequence: number, number, party: 'orders', content: null, targets, missed: [], ...about };
}

const ERP = 1;
const CRM = 2;

describe('the message that one follows', () => {
  const own = { party: 'orders' };

  it('is the newest before it that went anywhere', () => {
    expect(followed(own, [message(3, [CRM]), message(2, []), message(1, [ERP])])?.number).toBe(3);
    expect(followed(own, [message(3, []), message(2, null), message(1, [ERP])])?.number).toBe(1);
  });

  it('is none where none went anywhere', () => {
    expect(followed(own, [])).toBeUndefined();
    expect(followed(own, [message(1, [])])).toBeUndefined();
  });

  it('is of its own party: what came to another address of ours is not followed, copy or not', () => {
    const before = [message(3, [ERP], { party: 'books' }), message(2, [CRM]), message(1, [ERP])];
    expect(followed(own, before)?.number).toBe(2);
    expect(followed(own, [message(2, [ERP], { party: 'books' }), message(1, [])])).toBeUndefined();
  });
});

it('a target knows what it got, oldest first', () => {
  const content = (text: string) => ({ fields: null, text, html: null, parts: [] });
  const before = [
    message(3, [ERP], { content: content('three') }),
    message(2, [CRM], { content: content('two') }),
    message(1, [CRM, ERP], { content: content('one') }),
  ];
  expect(knownTo(ERP, before)).toEqual([content('one'), content('three')]);
  expect(knownTo(3, before)).toEqual([]);
  const missed = before.map((one) => (one.number === 3 ? { ...one, missed: [ERP] } : one));
  expect(knownTo(ERP, missed)).toEqual([content('one')]);
});
