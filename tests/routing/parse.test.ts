import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parseRuleSet, unknownTargets } from '../../src/routing/parse.js';
import { LIMITS, targetsOf } from '../../src/routing/rule.js';
import { oneRule, problemsOf, read } from './rules.js';

describe('a rule set', () => {
  it('is read with its defaults', () => {
    const text = 'rules:\n  - name: a\n    when: { kind: mail }\n    then: { targets: t }\n';
    expect(read(text)).toEqual({
      mode: 'first-match',
      rules: [
        {
          name: 'a',
          description: null,
          enabled: true,
          priority: 100,
          when: [{ path: 'kind', tests: [{ op: 'equals', any: ['mail'] }] }],
          choice: { targets: ['t'] },
        },
      ],
    });
  });

  it('reads as docs/rules.md shows it', () => {
    const page = readFileSync(new URL('../../docs/rules.md', import.meta.url), 'utf8');
    const example = /```yaml\n([\s\S]*?)```/.exec(page)?.[1] ?? '';
    expect(read(example).rules.map((rule) => rule.name)).toEqual(['newsletters', 'large-orders', 'invoices']);
  });

  it('may have comments, Windows line ends and a byte order mark', () => {
    expect(read('\uFEFFmode: all-match # all\r\nrules: []\r\n')).toEqual({ mode: 'all-match', rules: [] });
  });

  it('names its targets, those of disabled rules too, each once', () => {
    const text = `
rules:
  - { name: a, when: {}, then: { targets: [x, y] } }
  - { name: b, when: {}, then: { close: spam } }
  - { name: c, enabled: false, when: {}, then: { targets: [y, z] } }
`;
    expect(targetsOf(read(text))).toEqual(['x', 'y', 'z']);
  });

  it('says where a target stands that does not exist', () => {
    const parsed = parseRuleSet('rules:\n  - name: a\n    when: {}\n    then: { targets: [sales, acounting] }\n');
    if (!parsed.ok) throw new Error('it is right');
    expect(unknownTargets(parsed.mentions, new Set(['sales', 'accounting']))).toEqual([
      {
        line: 4,
        column: 30,
        path: 'rules[0].then.targets[1]',
        message: 'there is no target "acounting"; define it first, or name another',
        didYouMean: 'accounting',
      },
    ]);
  });
});

describe('problems', () => {
  it('are all found at once, with line and column, in the order of the text', () => {
    const text = `mode: first-mach
rules:
  - name: Large Orders
    when:
      kind: mial
      subjct: { prefix: Invoice }
      data.amount: { numerics: [">", 1] }
    then:
      target: sales
  - name: b
    priority: high
    when: { peer: { cidr: 10.0.0.0/33 } }
    then: { targets: [Sales] }
    then: { close: x }
extra: 1
`;
    expect(problemsOf(text).map(({ line, column, path, didYouMean }) => [line, column, path, didYouMean])).toEqual([
      [1, 7, 'mode', 'first-match'],
      [3, 11, 'rules[0].name', 'large-orders'],
      [5, 13, 'rules[0].when.kind', 'mail'],
      [6, 7, 'rules[0].when.subjct', 'subject'],
      [7, 22, 'rules[0].when.data.amount.numerics', 'numeric'],
      [8, 5, 'rules[0].then', undefined],
      [9, 7, 'rules[0].then.target', 'targets'],
      [11, 15, 'rules[1].priority', undefined],
      [12, 27, 'rules[1].when.peer.cidr', undefined],
      [13, 23, 'rules[1].then.targets[0]', 'sales'],
      [14, 5, 'rules[1].then', undefined],
      [15, 1, 'extra', undefined],
    ]);
  });

  it.each([
    ['', 1, 1, 'a rule set must be a mapping'],
    ['rules: [', 1, 9, 'this is not readable YAML'],
    ['rules: []\n---\nrules: []', 2, 1, 'this is not readable YAML'],
    ['mode: all-match', 1, 1, 'rules must be a list'],
    ['rules:', 1, 7, 'rules must be a list'],
    ['rules: [~]', 1, 9, 'a rule must be a mapping'],
    ['rules: [{}]', 1, 9, 'a rule needs a name'],
    ['rules: [*x]', 1, 9, 'text that begins with * stands in quotes'],
    [
      'rules:\n  - &x { name: a, when: {}, then: { close: x } }\n  - *x',
      3,
      5,
      'text that begins with * stands in quotes',
    ],
    [oneRule('{ to: { suffix: *@example.com } }'), 3, 27, 'text that begins with * stands in quotes'],
    [oneRule('!!js/function x'), 3, 11, 'this is not readable YAML'],
    [oneRule('{ ? [a] : b }'), 3, 15, 'a name must be plain text'],
    [oneRule(''), 3, 11, 'a pattern must be a mapping'],
    [oneRule('[]'), 3, 11, 'a pattern must be a mapping'],
    [oneRule('{ subject: }'), 3, 22, 'subject must be text'],
    [oneRule('{ subject: null }'), 3, 22, 'subject must be text'],
    [oneRule('{ subject: [] }'), 3, 22, 'a list has 1 to 1000 entries, not 0'],
    [oneRule('{ subject: [[a]] }'), 3, 23, 'subject must be text'],
    [oneRule('{ subject: { prefix: "" } }'), 3, 32, 'prefix must have 1 to 512 characters'],
    [oneRule('{ subject: { prefix: a, suffix: b } }'), 3, 22, 'a test names one operator'],
    [oneRule('{ subject: {} }'), 3, 22, 'a test names one operator'],
    [oneRule('{ subject: a, subject: b }'), 3, 25, '"subject" is there twice'],
    [oneRule('{ headers.X: a, headers.x: b }'), 3, 27, 'headers.x is there twice'],
    [oneRule('{ headers.waybill-rung: 0 }'), 3, 13, "inbound waybill-rung fields never count as Waybill's own"],
    [oneRule('{ headers.X-Waybill-Rung: 0 }'), 3, 13, "inbound x-waybill-rung fields never count as Waybill's own"],
    [oneRule('{ "headers.a b": 0 }'), 3, 13, '"a b" is not a header name'],
    [oneRule('{ data..x: 0 }'), 3, 13, '"data..x" is not a path'],
    [oneRule('{ "data.x\\\\y": 0 }'), 3, 13, '"data.x\\y" is not a path'],
    [oneRule('{ subject.x: 0 }'), 3, 13, 'there is no field "subject.x"'],
    [oneRule('{ constructor: 0 }'), 3, 13, 'there is no field "constructor"'],
    [oneRule('{ data: { customer: { country: [DE] } } }'), 3, 21, 'fields within it are written data.<name>'],
    [oneRule('{ data.x: 0x10 }'), 3, 21, 'a number is written as in JSON'],
    [oneRule('{ data.x: .5 }'), 3, 21, 'a number is written as in JSON'],
    [oneRule('{ data.x: .inf }'), 3, 21, 'a number is written as in JSON'],
    [oneRule('{ value: many }'), 3, 20, 'value is a number'],
    [oneRule('{ value: { prefix: "1" } }'), 3, 22, 'value is a number'],
    [oneRule('{ data.x: { numeric: [">"] } }'), 3, 32, 'numeric is a list such as'],
    [oneRule('{ data.x: { numeric: ["!=", 1] } }'), 3, 33, 'numeric is a list such as'],
    [oneRule('{ data.x: { numeric: [">", true] } }'), 3, 38, 'numeric is a list such as'],
    [oneRule('{ data.x: { numeric: [">", 2, "<", 1] } }'), 3, 32, 'a range has one lower bound'],
    [oneRule('{ data.x: { numeric: [">", 1, "<=", 1] } }'), 3, 32, 'a range has one lower bound'],
    [oneRule('{ data.x: { numeric: [">", 1, ">", 2] } }'), 3, 32, 'a range has one lower bound'],
    [oneRule('{ data.x: { numeric: ["=", 1, "<", 2] } }'), 3, 32, 'a range has one lower bound'],
    [oneRule('{ data.x: { exists: yes } }'), 3, 31, 'exists must be true or false'],
    [oneRule('{ data.x: { cidr: 10.0 } }'), 3, 29, 'cidr takes a network'],
    [oneRule('{ data.x: { cidr: 010.0.0.1 } }'), 3, 29, 'cidr takes a network'],
    [oneRule('{ data.x: { anything-but: { numeric: [">", 1] } } }'), 3, 37, 'anything-but takes literals'],
    [oneRule('{ data.x: { anything-but: { anything-but: a } } }'), 3, 37, 'anything-but takes literals'],
    [oneRule('{ $or: [] }'), 3, 18, '$or must be a list'],
    [oneRule('{ $or: { data.x: 1 } }'), 3, 18, '$or must be a list'],
    [oneRule('{ $and: [] }'), 3, 13, 'there is no field "$and"'],
    [
      'rules:\n  - { name: a, when: {}, then: { close: x } }\n  - { name: a, when: {}, then: { close: x } }',
      3,
      13,
      'rules[0] has the name "a" already',
    ],
    ['rules:\n  - { name: a, when: {}, then: {} }', 2, 26, '"then" names either targets or close'],
    ['rules:\n  - { name: a, when: {}, then: { targets: [] } }', 2, 43, 'a rule names 1 to 32 targets, not 0'],
    ['rules:\n  - { name: a, when: {}, then: { targets: [t, t] } }', 2, 47, '"t" is there twice'],
    [
      'rules:\n  - { name: a, when: {}, then: { close: "" } }',
      2,
      41,
      'the reason to close must have 1 to 512 characters',
    ],
    ['rules:\n  - { name: a, enabled: on, when: {}, then: { close: x } }', 2, 25, 'enabled must be true or false'],
    ['rules:\n  - { name: a, priority: 1.5, when: {}, then: { close: x } }', 2, 26, 'priority must be a whole number'],
    ['rules:\n  - { name: a, description: [x], when: {}, then: { close: x } }', 2, 29, 'a description must be text'],
  ])('%j: line %i, column %i, %s', (text, line, column, message) => {
    const [first] = problemsOf(text);
    expect(first).toMatchObject({ line, column });
    expect(first?.message).toContain(message);
  });

  it.each([
    ['header.list-id', 'headers.list-id'],
    ['dat.x', 'data.x'],
    ['Subject', 'subject'],
    ['form', 'from'],
    ['messageid', 'messageId'],
    ['headers.waybill-late', 'headers.untrusted-waybill-late'],
    ['body', undefined],
  ])('%s: did you mean %s', (field, didYouMean) => {
    expect(problemsOf(oneRule(`{ ${field}: x }`))[0]?.didYouMean).toBe(didYouMean);
  });

  it('beyond a hundred are counted', () => {
    const problems = problemsOf(`rules: [${'{},'.repeat(200)}]`);
    expect(problems).toHaveLength(101);
    expect(problems.at(-1)?.message).toBe('and 500 problems more');
  });
});

describe('bounds', () => {
  const rule = (index: number) => `  - { name: r${index}, when: {}, then: { close: x } }\n`;
  const many = (count: number) => `rules:\n${Array.from({ length: count }, (_, index) => rule(index)).join('')}`;

  it('of the number of rules', () => {
    expect(read(many(LIMITS.rules)).rules).toHaveLength(LIMITS.rules);
    expect(problemsOf(many(LIMITS.rules + 1))[0]?.message).toBe('there may be at most 5000 rules, not 5001');
  });

  it('of the text, in bytes', () => {
    const padded = (bytes: number) => `rules: [] #${'é'.repeat((bytes - 12) / 2)}\n`;
    expect(problemsOf(padded(LIMITS.text))).toEqual([]);
    expect(problemsOf(padded(LIMITS.text + 2))[0]?.message).toMatch(/at most 1048576 bytes long, not 1048578/);
  });

  it('of lists, fields, wildcards, paths and depth', () => {
    const list = (count: number) => oneRule(`{ subject: [${'a,'.repeat(count)}] }`);
    const fields = (count: number) =>
      oneRule(`{ ${Array.from({ length: count }, (_, n) => `data.f${n}: 1`).join(', ')} }`);
    const wildcard = (length: number) => oneRule(`{ subject: { wildcard: ${'a'.repeat(length)} } }`);
    const path = (length: number) => oneRule(`{ data.${'a'.repeat(length - 5)}: 1 }`);
    const depth = (levels: number) => oneRule(`${'{ $or: ['.repeat(levels)}{}${'] }'.repeat(levels)}`);
    for (const [text, limit] of [
      [list, LIMITS.list],
      [fields, LIMITS.terms],
      [wildcard, LIMITS.wildcard],
      [path, LIMITS.string],
      [depth, LIMITS.depth],
    ] as const) {
      expect(problemsOf(text(limit))).toEqual([]);
      expect(problemsOf(text(limit + 1))).toHaveLength(1);
    }
  });

  // Read without care, the keys took 40 s and the quotes the whole process.
  it.each([
    ['nested lists', '['.repeat(200_000)],
    ['nested mappings', 'rules: [{ when: '.repeat(10_000)],
    ['nested blocks', '- '.repeat(100_000)],
    ['open quotes', '"'.repeat(200_000)],
    ['different keys', Array.from({ length: 50_000 }, (_, n) => `k${n}: 1`).join('\n')],
    ['anchors', 'rules: [&a a, &a a, *a, *a]\n'.repeat(1000)],
  ])(
    'hold against a flood of %s',
    (_, text) => {
      const problems = problemsOf(text);
      expect(problems.length).toBeGreaterThan(0);
      expect(problems.length).toBeLessThanOrEqual(101);
    },
    10_000,
  );
});
