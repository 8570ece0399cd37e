import type { CanonicalMessage } from '../message/message.js';
import { type Choice, DEFAULT_PRIORITY, LIMITS, type Rule, type Term } from './rule.js';

/** What of a message a rule made after it can ask for. */
export const LIKENESSES = ['source', 'type', 'sender', 'account', 'subject'] as const;
export type Likeness = (typeof LIKENESSES)[number];

/** The likenesses that a message has. */
export function likenessesOf(message: CanonicalMessage): Likeness[] {
  return LIKENESSES.filter((one) => termOf(one, message) !== undefined);
}

/** What tells messages like it from others at first sight: who sends a mail, what type of event it is. */
export function usualLikenesses(message: CanonicalMessage): Likeness[] {
  const there = likenessesOf(message);
  const usual: readonly Likeness[] = message.kind === 'mail' ? ['sender'] : ['source', 'type'];
  const found = usual.filter((one) => there.includes(one));
  return found.length > 0 ? found : ['source'];
}

/** A rule that matches the message, and those that are like it in all that is named; its name is none of `taken`. */
export function ruleLike(
  message: CanonicalMessage,
  by: readonly Likeness[],
  choice: Choice,
  taken: ReadonlySet<string>,
): Rule {
  const kind: Term = { path: 'kind', tests: [{ op: 'equals', any: [message.kind] }] };
  const terms = LIKENESSES.filter((one) => by.includes(one)).map((one) => termOf(one, message));
  return {
    name: freeName(nameAfter(message, by), taken),
    description: `Like message ${message.id}.`,
    enabled: true,
    priority: DEFAULT_PRIORITY,
    when: [kind, ...terms.filter((term) => term !== undefined)],
    choice,
  };
}

function termOf(likeness: Likeness, message: CanonicalMessage): Term | undefined {
  switch (likeness) {
    case 'source':
      return equal('source', message.source);
    case 'type':
      return message.kind === 'mail' ? undefined : equal('type', message.type);
    case 'sender':
      return message.kind === 'mail'
        ? equal('from', senderOf(message))
        : equal('envelope.source', textOf(message.envelope.source));
    case 'account':
      return equal('account', message.account);
    case 'subject':
      return subjectTerm(message.view.subject);
    default: {
      const never: never = likeness;
      return never;
    }
  }
}

function senderOf({ view }: CanonicalMessage): string | null {
  return view.from[0]?.address.toLowerCase() ?? null;
}

function textOf(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}

function equal(path: string, text: string | null): Term | undefined {
  return text !== null && isWritable(text) && text.length <= LIMITS.string
    ? { path, tests: [{ op: 'equals', any: [text] }] }
    : undefined;
}

/** Texts that no rule can hold: PostgreSQL takes neither NUL nor half of a surrogate pair. */
function isWritable(text: string): boolean {
  return text !== '' && text.isWellFormed() && !text.includes('\0');
}

/** `Re:`, `Fwd:` and what other languages' mail programs write. */
const ANSWERED = /^(?:\s*(?:re|fwd?|aw|wg|sv|tr|rv)\s*:)+\s*/i;
/** How much of a subject that is too long for a wildcard is asked for. */
const BEGINNING = 100;

/** A subject without what is different from one mail to the next: that it is an answer, and words with digits in them. */
function subjectTerm(subject: string | null): Term | undefined {
  if (subject === null || !isWritable(subject)) return undefined;
  if (subject.length > LIMITS.wildcard) {
    return { path: 'subject', tests: [{ op: 'prefix', any: [wellFormed(subject.slice(0, BEGINNING))] }] };
  }
  const answered = ANSWERED.exec(subject)?.[0] ?? '';
  const pieces = subject.slice(answered.length).split(/\S*\d\S*/);
  const all = answered === '' ? pieces : ['', ...pieces];
  if (all.length === 1 || all.every((piece) => piece.trim() === '')) return equal('subject', subject);
  const pattern = all
    .filter((piece, i) => i === 0 || i === all.length - 1 || piece.trim() !== '')
    .map((piece) => piece.replace(/[\\*]/g, '\\$&'))
    .join('*');
  return pattern.length > LIMITS.wildcard
    ? equal('subject', subject)
    : { path: 'subject', tests: [{ op: 'wildcard', any: [pattern] }] };
}

/** Without the half of a pair that cutting left at its end. */
function wellFormed(text: string): string {
  return text.isWellFormed() ? text : text.slice(0, -1);
}

function nameAfter(message: CanonicalMessage, by: readonly Likeness[]): string {
  const sender = by.includes('sender') ? senderOf(message) : null;
  const said = message.kind === 'mail' ? sender : message.type;
  const name = (sender === null ? (said ?? message.source) : `from-${sender}`)
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '');
  return name === '' ? 'new-rule' : name;
}

const LONGEST_NAME = 63;

function freeName(name: string, taken: ReadonlySet<string>): string {
  for (let n = 1; ; n++) {
    const suffix = n === 1 ? '' : `-${n}`;
    const candidate = name.slice(0, LONGEST_NAME - suffix.length).replace(/-$/, '') + suffix;
    if (!taken.has(candidate)) return candidate;
  }
}
