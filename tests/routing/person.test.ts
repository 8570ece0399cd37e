import { describe, expect, test } from 'vitest';
import { ACTIONS, consequenceOf, newTargets, type Standing, takeBack } from '../../src/routing/person.js';

const STANDINGS: Standing[] = ['waiting', 'snoozed', 'routed', 'closed', 'parked', 'quarantined'];

test('what can be done from where', () => {
  const allowed = Object.fromEntries(
    STANDINGS.map((standing) => [standing, ACTIONS.filter((action) => consequenceOf(action, standing).allowed)]),
  );
  expect(allowed).toEqual({
    waiting: ['assign', 'close', 'snooze', 'note', 'replay'],
    snoozed: ['assign', 'close', 'snooze', 'reopen', 'note', 'replay'],
    routed: ['assign', 'unassign', 'reopen', 'note', 'replay'],
    closed: ['assign', 'reopen', 'note', 'replay'],
    parked: ['note'],
    quarantined: ['note'],
  });
});

test('only what sends or cancels is left to the owner', () => {
  const byOwner = ACTIONS.filter((action) =>
    STANDINGS.some((standing) => {
      const consequence = consequenceOf(action, standing);
      return consequence.allowed && consequence.by === 'owner';
    }),
  );
  expect(byOwner).toEqual(['assign', 'unassign', 'replay']);
});

const designated = { chosen: new Set([1]), pending: new Set([2]), delivered: new Set([3]) };

test('a target that has the message, or will get it, is not assigned again', () => {
  expect(newTargets([1, 2, 3, 4, 4, 5], designated)).toEqual([4, 5]);
});

describe('taking back', () => {
  test('all strikes out what nobody took up, cancels what is pending, and leaves what was delivered', () => {
    expect(takeBack(undefined, designated)).toEqual({ unchosen: [1], cancel: [2], nothingLeft: false });
  });
  test('the last target puts the message back into the inbox', () => {
    expect(takeBack([2], { chosen: new Set(), pending: new Set([2]), delivered: new Set() }).nothingLeft).toBe(true);
  });
  test('one of two does not', () => {
    expect(takeBack([1], { ...designated, delivered: new Set() })).toEqual({
      unchosen: [1],
      cancel: [],
      nothingLeft: false,
    });
  });
  test('what it never had is nothing', () => {
    expect(takeBack([9], designated)).toEqual({ unchosen: [], cancel: [], nothingLeft: false });
  });
});
