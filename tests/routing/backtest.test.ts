import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { CanonicalMessage } from '../../src/message/message.js';
import { EMPTY_VIEW } from '../../src/message/view.js';
import { Comparison, MOST_EXAMPLES, type Needs, needsOf } from '../../src/routing/backtest.js';
import { compileRuleSet } from '../../src/routing/compile.js';
import { decide } from '../../src/routing/decide.js';
import { atOnce } from '../../src/routing/steps.js';
import { messages, ruleSets } from './arbitraries.js';
import { message } from './messages.js';
import { compiled } from './rules.js';

const typed = (type: string, n: number) => message({ id: `0-${n}`, type });

describe('two rule sets', () => {
  const before = compiled(`
rules:
  - { name: orders, when: { type: order }, then: { targets: [erp, crm] } }
  - { name: spam, when: { type: spam }, then: { close: spam } }
`);
  const after = compiled(`
rules:
  - { name: spam, when: { type: [spam, advert] }, then: { close: unwanted } }
  - { name: orders, when: { type: order }, then: { targets: [erp, archive] } }
  - { name: gone, when: { type: gone }, then: { targets: removed } }
  - { name: idle, when: { type: idle }, then: { targets: erp } }
  - { name: off, enabled: false, when: {}, then: { targets: erp } }
`);

  it('are compared by where each message goes, with examples', () => {
    const comparison = new Comparison(after, before, new Set(['erp', 'crm', 'archive']));
    for (const [n, type] of ['order', 'order', 'spam', 'advert', 'gone', 'other'].entries())
      atOnce(comparison.add(typed(type, n)));
    const none = { added: 0, removed: 0, examples: { added: [], removed: [] } };
    expect(comparison.result()).toEqual({
      messages: 6,
      changed: 3,
      targets: [
        { target: 'archive', added: 2, removed: 0, examples: { added: ['0-0', '0-1'], removed: [] } },
        { target: 'crm', added: 0, removed: 2, examples: { added: [], removed: ['0-0', '0-1'] } },
      ],
      waiting: { ...none, removed: 1, examples: { added: [], removed: ['0-3'] } },
      closed: { ...none, added: 1, examples: { added: ['0-3'], removed: [] } },
      rules: [
        { rule: 'spam', hits: 2 },
        { rule: 'orders', hits: 2 },
        { rule: 'gone', hits: 1 },
        { rule: 'idle', hits: 0 },
      ],
    });
  });

  it('name so many examples and no more', () => {
    const comparison = new Comparison(after, before, new Set(['erp', 'crm', 'archive']));
    for (let n = 0; n < 3 * MOST_EXAMPLES; n++) atOnce(comparison.add(typed('order', n)));
    const [archive] = comparison.result().targets;
    expect([archive?.added, archive?.examples.added.length]).toEqual([3 * MOST_EXAMPLES, MOST_EXAMPLES]);
  });

  it('come to the same when they are the same, in either mode', () => {
    fc.assert(
      fc.property(ruleSets, fc.array(messages, { maxLength: 5 }), (ruleSet, all) => {
        const rules = compileRuleSet(ruleSet);
        const targets = ruleSet.rules.flatMap(({ choice }) => ('targets' in choice ? choice.targets : []));
        const comparison = new Comparison(rules, rules, new Set(targets));
        for (const one of all) atOnce(comparison.add(one));
        const { changed, targets: differ, rules: hits } = comparison.result();
        expect([changed, differ]).toEqual([0, []]);
        for (const { rule, hits: n } of hits) {
          expect(n).toBe(all.filter((one) => decide(rules, one).rules.includes(rule)).length);
        }
      }),
    );
  });
});

/** The message with nothing but what was fetched of it. */
function fetched(one: CanonicalMessage, { plain, meta, view, raw }: Needs): CanonicalMessage {
  const has = one.kind === 'mail' ? view : raw === 'content';
  return {
    ...one,
    source: plain.has('source') ? one.source : '',
    account: plain.has('account') ? one.account : '',
    type: plain.has('type') ? one.type : null,
    value: plain.has('value') ? one.value : null,
    time: plain.has('time') ? one.time : null,
    received: plain.has('received') ? one.received : '',
    peer: plain.has('peer') ? one.peer : '',
    externalId: plain.has('externalId') ? one.externalId : null,
    envelope: meta ? one.envelope : {},
    view: has ? one.view : EMPTY_VIEW,
  };
}

it('what rules need of a message is all they read', () => {
  fc.assert(
    fc.property(ruleSets, messages, (ruleSet, whole) => {
      const { text, data, rung, defects } = whole.view;
      const unread = whole.view.unread.filter((field) => field === 'text' || field === 'data');
      const one =
        whole.kind === 'mail' ? whole : { ...whole, view: { ...EMPTY_VIEW, text, data, rung, defects, unread } };
      const rules = compileRuleSet(ruleSet);
      expect(decide(rules, fetched(one, needsOf(rules)))).toEqual(decide(rules, one));
    }),
    { numRuns: 2000 },
  );
});

it('rules that look at the envelope alone need no content', () => {
  const needs = needsOf(compiled('rules:\n  - { name: a, when: { type: a, kind: mail }, then: { targets: t } }\n'));
  expect(needs).toEqual({ plain: new Set(['type']), meta: false, view: false, raw: 'no' });
  const headers = compiled('rules:\n  - { name: a, when: { headers.x: a, account: a }, then: { targets: t } }\n');
  expect(needsOf(headers)).toEqual({ plain: new Set(['account']), meta: true, view: true, raw: 'no' });
  const envelope = compiled('rules:\n  - { name: a, when: { envelope.source: a }, then: { targets: t } }\n');
  expect(needsOf(envelope)).toEqual({ plain: new Set(), meta: true, view: false, raw: 'attributes' });
});
