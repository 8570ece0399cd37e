import fc from 'fast-check';
import { LosslessNumber } from 'lossless-json';
import type { CanonicalMessage } from '../../src/message/message.js';
import { EMPTY_VIEW } from '../../src/message/view.js';
import {
  type Bound,
  type Choice,
  type ComparableTest,
  LIMITS,
  type Literal,
  type Pattern,
  type Rule,
  type RuleSet,
  type Term,
  type Test,
} from '../../src/routing/rule.js';

/** Few words, so that rules and messages meet; and the odd ones that printing must quote. */
const word = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.constantFrom('a', 'ab', 'Abc', 'b', 'a b', '10', '2.50', 'true', 'null', 'x@example.com'),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      '~',
      '',
      ' a',
      'a ',
      '*',
      '&a',
      '- a',
      'a: b',
      '# a',
      '1e3',
      '0x10',
      "'",
      '"',
      'a\nb',
      '\t',
    ),
  },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 20 }) },
);
const someWord = word.filter((text) => text !== '');
const digits = fc.oneof(
  fc.constantFrom('0', '1', '2.5', '2.50', '10', '-10', '1e3', '1000', '12345678901234567890.123'),
  fc.tuple(fc.bigInt({ min: -1000n, max: 1000n }), fc.nat(99)).map(([whole, cents]) => `${whole}.${cents}`),
);

const literal: fc.Arbitrary<Literal> = fc.oneof(
  { weight: 4, arbitrary: word },
  { weight: 2, arbitrary: digits.map((text) => ({ digits: text })) },
  { weight: 1, arbitrary: fc.constantFrom(true, false, null) },
);

function some<T>(entries: fc.Arbitrary<T>): fc.Arbitrary<T[]> {
  return fc.array(entries, { minLength: 1, maxLength: 3 });
}

const textTest: fc.Arbitrary<ComparableTest> = fc.oneof(
  fc.record({
    op: fc.constantFrom('prefix' as const, 'suffix' as const, 'wildcard' as const, 'equals-ignore-case' as const),
    any: some(someWord),
  }),
  fc.record({
    op: fc.constant('matches' as const),
    any: some(fc.constantFrom('a', '^a', 'b$', '(?i)ABC', '\\d+\\.', '^$', 'x|y', '\\ba b\\b')),
  }),
  fc.record({
    op: fc.constant('cidr' as const),
    any: some(fc.constantFrom('10.0.0.0/8', '192.0.2.1', '2001:db8::/32', '::ffff:10.1.0.0/112')),
  }),
);

const bounds: fc.Arbitrary<Bound[]> = fc.oneof(
  fc.tuple(
    fc.record({
      is: fc.constantFrom('=' as const, '<' as const, '<=' as const, '>' as const, '>=' as const),
      than: digits,
    }),
  ),
  fc
    .tuple(
      fc.constantFrom('>' as const, '>=' as const),
      fc.integer(),
      fc.constantFrom('<' as const, '<=' as const),
      fc.nat(),
    )
    .map(([lower, from, upper, width]): Bound[] => [
      { is: lower, than: String(from) },
      { is: upper, than: String(from + width + 1) },
    ]),
);

function testOf(literals: fc.Arbitrary<Literal>): fc.Arbitrary<Test> {
  const equals = fc.record({ op: fc.constant('equals' as const), any: some(literals) });
  return fc.oneof(
    equals,
    textTest,
    fc.record({ op: fc.constant('anything-but' as const), of: fc.oneof(equals, textTest) }),
    fc.record({ op: fc.constant('numeric' as const), bounds }),
    fc.record({ op: fc.constant('exists' as const), exists: fc.boolean() }),
  );
}

const numberTest: fc.Arbitrary<Test> = fc.oneof(
  fc.record({ op: fc.constant('equals' as const), any: some(digits.map((text) => ({ digits: text }))) }),
  fc.record({ op: fc.constant('numeric' as const), bounds }),
  fc.record({ op: fc.constant('exists' as const), exists: fc.boolean() }),
);

function term(paths: fc.Arbitrary<string>, test: fc.Arbitrary<Test>): fc.Arbitrary<Term> {
  // The literals of a field are one test.
  const tests = fc.uniqueArray(test, {
    minLength: 1,
    maxLength: 3,
    comparator: (a, b) => a.op === 'equals' && b.op === 'equals',
  });
  return fc.record({ path: paths, tests });
}

const textPath = fc.constantFrom(
  'source',
  'account',
  'type',
  'peer',
  'subject',
  'from',
  'to',
  'cc',
  'text',
  'messageId',
  'externalId',
  'time',
  'received',
  'defects',
  'parts.name',
  'parts.type',
  'headers.list-id',
  'headers.x.y',
);
const anyPath = fc.constantFrom(
  'data',
  'data.a',
  'data.b.c',
  'data.x\\.y',
  'data.__proto__',
  'envelope.from',
  'envelope.tls.version',
  'parts',
);
const numberPath = fc.constantFrom('value', 'rung', 'parts.size');
const kindTerm: fc.Arbitrary<Term> = fc
  .subarray(['mail', 'event', 'webhook'], { minLength: 1 })
  .map((any) => ({ path: 'kind', tests: [{ op: 'equals', any }] }));

const fieldTerm = fc.oneof(
  term(textPath, testOf(word)),
  term(anyPath, testOf(literal)),
  term(numberPath, numberTest),
  kindTerm,
);

export const patterns: fc.Arbitrary<Pattern> = fc.letrec<{ pattern: Pattern; term: Term }>((tie) => ({
  pattern: fc.uniqueArray(tie('term'), { maxLength: 3, selector: (one) => ('path' in one ? one.path : '$or') }),
  term: fc.oneof(
    { maxDepth: LIMITS.depth - 1, depthSize: 'small' },
    { weight: 5, arbitrary: fieldTerm },
    { weight: 1, arbitrary: fc.record({ anyOf: some(tie('pattern')) }) },
  ),
})).pattern;

/** Patterns of fields whose literals are texts. */
export function textPatterns(paths: readonly string[]): fc.Arbitrary<Pattern> {
  const terms = term(fc.constantFrom(...paths), testOf(word));
  return fc.uniqueArray(terms, { minLength: 1, maxLength: 3, selector: (one) => ('path' in one ? one.path : '') });
}

const name = fc.stringMatching(/^[a-z0-9][a-z0-9-]{0,10}$/);
const choice: fc.Arbitrary<Choice> = fc.oneof(
  fc.record({ targets: fc.uniqueArray(name, { minLength: 1, maxLength: 3 }) }),
  fc.record({ close: someWord }),
);

const rule: fc.Arbitrary<Rule> = fc.record({
  name,
  description: fc.option(someWord),
  enabled: fc.boolean(),
  priority: fc.oneof(fc.constant(100), fc.nat(200)),
  when: patterns,
  choice,
});

export const ruleSets: fc.Arbitrary<RuleSet> = fc.record({
  mode: fc.constantFrom('first-match' as const, 'all-match' as const),
  rules: fc.uniqueArray(rule, { maxLength: 6, selector: (one) => one.name }),
});

const json: fc.Arbitrary<unknown> = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 3, depthSize: 'small' },
    word,
    fc.constantFrom(true, false, null, 10, 2.5, 1e21),
    digits.map((text) => new LosslessNumber(text)),
    fc.array(tie('value'), { maxLength: 3 }),
    fc.dictionary(fc.constantFrom('a', 'b', 'c', 'x.y', '__proto__'), tie('value'), { maxKeys: 3 }),
  ),
})).value;

const addresses = fc.array(fc.record({ name: word, address: word }), { maxLength: 3 });

export const messages: fc.Arbitrary<CanonicalMessage> = fc.record({
  id: fc.constant('1-1'),
  tenant: fc.constant('default'),
  source: word,
  kind: fc.constantFrom('mail' as const, 'event' as const, 'webhook' as const),
  account: word,
  type: fc.option(word),
  value: fc.option(digits),
  externalId: fc.option(word),
  time: fc.option(fc.constant('2026-01-01T00:00:00Z')),
  received: fc.constant('2026-01-01T00:00:00.000Z'),
  peer: fc.oneof(word, fc.constantFrom('10.1.2.3', '::ffff:10.1.0.9', '192.0.2.1', '2001:db8::1')),
  envelope: fc.dictionary(fc.constantFrom('from', 'tls', 'headers'), json),
  found: fc.array(
    fc.record({
      type: fc.constantFrom('amount', 'email', 'phone'),
      value: fc.oneof(word, digits),
      written: word,
      where: fc.constant('subject'),
    }),
    { maxLength: 3 },
  ),
  view: fc.record({
    rung: fc.nat(2),
    headers: fc.array(fc.tuple(fc.constantFrom('list-id', 'x.y'), word), { maxLength: 3 }),
    subject: fc.option(word),
    from: addresses,
    to: addresses,
    cc: addresses,
    replyTo: fc.constant([]),
    date: fc.constant(null),
    messageId: fc.option(word),
    inReplyTo: fc.constant([]),
    references: fc.constant([]),
    text: fc.option(word),
    html: fc.constant(null),
    parts: fc.array(
      fc.record({
        n: fc.nat(),
        path: fc.constant('1'),
        name: fc.option(word),
        type: word,
        size: fc.nat(2000),
        sha256: fc.constant(''),
        inline: fc.boolean(),
        contentId: fc.constant(null),
      }),
      { maxLength: 2 },
    ),
    defects: fc.constant(EMPTY_VIEW.defects),
    setAside: fc.constant(EMPTY_VIEW.setAside),
    blamed: fc.constant(EMPTY_VIEW.blamed),
    unread: fc.subarray(['headers', 'text', 'html', 'parts', 'data'] as const),
    data: json,
  }),
});
