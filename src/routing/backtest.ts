import type { CanonicalMessage } from '../message/message.js';
import type { CompiledRules } from './compile.js';
import type { Decided } from './conclude.js';
import { deciding } from './decide.js';
import type { Steps } from './steps.js';

/** How often something happens under one rule set and not under the other, with the first few of each. */
export interface Difference {
  readonly added: number;
  readonly removed: number;
  readonly examples: { readonly added: readonly string[]; readonly removed: readonly string[] };
}

export interface Compared {
  /** Messages that both were asked of. */
  readonly messages: number;
  /** How many of them come to something else. */
  readonly changed: number;
  /** Those that something is added to or removed from, in the order of their names. */
  readonly targets: readonly ({ readonly target: string } & Difference)[];
  readonly waiting: Difference;
  readonly closed: Difference;
  /** How often each enabled rule decided, in the order they are asked. */
  readonly rules: readonly { readonly rule: string; readonly hits: number }[];
}

/** Ids that are kept of each number: enough to look at. */
export const MOST_EXAMPLES = 50;

/** Asks two rule sets of the same messages, and counts where they differ: what is new under `rules`, and what is lost. */
export class Comparison {
  private messages = 0;
  private changed = 0;
  private readonly hits = new Map<string, number>();
  private readonly targets = new Map<string, Counted>();
  private readonly waiting = new Counted();
  private readonly closed = new Counted();
  /** What follows from two outcomes, for those that come again and again. */
  private readonly known = new Map<Decided, Map<Decided, Change>>();

  constructor(
    private readonly rules: CompiledRules,
    private readonly against: CompiledRules,
    /** Names of the targets that there are: others are chosen in vain. */
    private readonly existing: ReadonlySet<string>,
  ) {
    for (const { rule } of rules.active) this.hits.set(rule.name, 0);
  }

  *add(message: CanonicalMessage): Steps<void> {
    const after = yield* deciding(this.rules, message);
    const before = yield* deciding(this.against, message);
    this.messages++;
    for (const rule of after.rules) this.hits.set(rule, (this.hits.get(rule) ?? 0) + 1);
    const { added, removed } = this.changeOf(before, after);
    if (added.length === 0 && removed.length === 0) return;
    this.changed++;
    for (const counted of added) counted.add(message.id);
    for (const counted of removed) counted.remove(message.id);
  }

  result(): Compared {
    const targets = [...this.targets]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([target, counted]) => ({ target, ...counted.difference() }))
      .filter(({ added, removed }) => added + removed > 0);
    const rules = [...this.hits].map(([rule, hits]) => ({ rule, hits }));
    const { messages, changed, waiting, closed } = this;
    return { messages, changed, targets, waiting: waiting.difference(), closed: closed.difference(), rules };
  }

  private changeOf(before: Decided, after: Decided): Change {
    // What several rules come to together is made anew for each message.
    if (before.rules.length > 1 || after.rules.length > 1) return this.change(before, after);
    const changes = this.known.get(before) ?? new Map<Decided, Change>();
    this.known.set(before, changes);
    const change = changes.get(after) ?? this.change(before, after);
    changes.set(after, change);
    return change;
  }

  private change(before: Decided, after: Decided): Change {
    const had = this.placesOf(before);
    const has = this.placesOf(after);
    return {
      added: [...has].filter((one) => !had.has(one)),
      removed: [...had].filter((one) => !has.has(one)),
    };
  }

  /** Where a message goes; one whose targets are all gone waits, as it does when it is routed. */
  private placesOf({ outcome }: Decided): Set<Counted> {
    switch (outcome.do) {
      case 'close':
        return new Set([this.closed]);
      case 'wait':
        return new Set([this.waiting]);
      case 'deliver': {
        const targets = outcome.targets.filter((target) => this.existing.has(target));
        return new Set(targets.length === 0 ? [this.waiting] : targets.map((target) => this.countedOf(target)));
      }
      default: {
        const never: never = outcome;
        throw never;
      }
    }
  }

  private countedOf(target: string): Counted {
    const known = this.targets.get(target) ?? new Counted();
    this.targets.set(target, known);
    return known;
  }
}

interface Change {
  readonly added: readonly Counted[];
  readonly removed: readonly Counted[];
}

class Counted {
  private added = 0;
  private removed = 0;
  private readonly examples = { added: [] as string[], removed: [] as string[] };

  add(id: string): void {
    if (this.added++ < MOST_EXAMPLES) this.examples.added.push(id);
  }

  remove(id: string): void {
    if (this.removed++ < MOST_EXAMPLES) this.examples.removed.push(id);
  }

  difference(): Difference {
    const { added, removed, examples } = this;
    return { added, removed, examples };
  }
}

/** What of a stored message has to be fetched so that rules can be asked of it. */
export interface Needs {
  /** Plain parts of its envelope, by the paths that rules know them by. */
  readonly plain: ReadonlySet<PlainPath>;
  /** What the transport said. */
  readonly meta: boolean;
  /** The stored view of a mail. */
  readonly view: boolean;
  /** The bytes of an event: its context attributes alone, or all that is made of it. */
  readonly raw: 'no' | 'attributes' | 'content';
}

const PLAIN_PATHS = ['source', 'account', 'type', 'value', 'time', 'received', 'peer', 'externalId'] as const;
export type PlainPath = (typeof PLAIN_PATHS)[number];

/** What the fields that some rule asks for are read from. */
export function needsOf(...ruleSets: readonly CompiledRules[]): Needs {
  const paths = new Set(ruleSets.flatMap(({ fields }) => fields.map(({ path }) => path)));
  const families = new Set([...paths].map((path) => path.split('.', 1)[0] as string));
  const content = ['data', 'text', 'rung', 'defects', 'found'].some((family) => families.has(family));
  return {
    plain: new Set(PLAIN_PATHS.filter((path) => paths.has(path))),
    meta: families.has('envelope') || families.has('headers') || content,
    view: content || OF_VIEW.some((family) => families.has(family)),
    raw: content ? 'content' : families.has('envelope') ? 'attributes' : 'no',
  };
}

/** What nothing but a mail has is in its view alone. */
const OF_VIEW = ['subject', 'from', 'to', 'cc', 'messageId', 'parts', 'headers'];
