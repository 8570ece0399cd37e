import { expect, test } from 'vitest';
import { PERMISSIONS } from '../../src/access/permission.js';
import { notHeld, permissionsOf } from '../../src/access/role.js';

test('the owner of the first tenant holds everything', () => {
  expect([...permissionsOf('owner', 'default')].sort()).toEqual([...PERMISSIONS].sort());
});

test('owners of other tenants hold everything but what concerns all tenants', () => {
  expect(notHeld(permissionsOf('owner', 'acme'), PERMISSIONS)).toEqual(['tenants.manage', 'metrics.read']);
});

test('a viewer changes nothing', () => {
  const changing = [...permissionsOf('viewer', 'default')].filter((one) => !one.endsWith('.read'));
  expect(changing).toEqual([]);
});

test('an operator decides and runs targets, and manages neither people nor tokens nor configuration', () => {
  const operator = permissionsOf('operator', 'default');
  expect(operator.has('messages.decide') && operator.has('targets.operate') && operator.has('quarantine.decide')).toBe(
    true,
  );
  expect(
    ['people.manage', 'tokens.manage', 'rules.write', 'targets.write', 'sources.write'].filter((one) =>
      operator.has(one as never),
    ),
  ).toEqual([]);
});

test('what is granted without being held is named', () => {
  expect(notHeld(new Set(['messages.read']), ['messages.read', 'rules.write'])).toEqual(['rules.write']);
});
