import fc from 'fast-check';
import { expect, it } from 'vitest';
import { printRuleSet } from '../../src/routing/print.js';
import { ruleSets } from './arbitraries.js';
import { read } from './rules.js';

it('what is printed parses to the same rule set', () => {
  fc.assert(
    fc.property(ruleSets, (ruleSet) => {
      expect(read(printRuleSet(ruleSet))).toEqual(ruleSet);
    }),
    { numRuns: 1000 },
  );
});

it('prints what a person would write', () => {
  const text = `mode: all-match
rules:
  - name: large-orders
    description: "Orders: large ones"
    priority: 10
    when:
      kind: event
      type: [ order.placed, order.changed ]
      data.amount: { numeric: [ ">=", 1000.00, <, 50000 ] }
      data.country: { anything-but: [ US, CA ] }
      $or:
        - subject: [ { prefix: Invoice }, { wildcard: "*paid*" } ]
        - headers.list-id: { exists: true }
    then: { targets: [ sales, accounting ] }
`;
  expect(printRuleSet(read(text))).toBe(text);
});
