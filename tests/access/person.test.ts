import { expect, test } from 'vitest';
import { leavesNoOwner, type Person, personNameSchema } from '../../src/access/person.js';

const anna: Person = { id: 1, name: 'anna', role: 'owner', disabled: false };
const ben: Person = { id: 2, name: 'ben', role: 'owner', disabled: true };
const carla: Person = { id: 3, name: 'carla', role: 'operator', disabled: false };

test('the last owner can neither be disabled nor lose the role', () => {
  expect(leavesNoOwner([anna, ben, carla], 'anna', { disabled: true })).toBe(true);
  expect(leavesNoOwner([anna, ben, carla], 'anna', { role: 'viewer' })).toBe(true);
});

test('one of two owners can', () => {
  const people = [anna, { ...ben, disabled: false }];
  expect(leavesNoOwner(people, 'anna', { disabled: true })).toBe(false);
});

test('others can always be changed, and an owner into an owner', () => {
  expect(leavesNoOwner([anna, carla], 'carla', { disabled: true })).toBe(false);
  expect(leavesNoOwner([anna, carla], 'anna', { role: 'owner', disabled: false })).toBe(false);
  expect(leavesNoOwner([ben, carla], 'carla', { role: 'viewer' })).toBe(false);
});

test('nobody can be called like a token', () => {
  expect(personNameSchema.safeParse('token ci').success).toBe(false);
  expect(personNameSchema.safeParse('anna@example.com').success).toBe(true);
});
