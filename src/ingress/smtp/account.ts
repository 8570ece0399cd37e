import { RE2JS } from 're2js';
import type { MailSource, Source } from '../../channel/source.js';
import { FIELD_LIMITS } from '../../message/arrival.js';
import { folded, type MailAddress } from './address.js';
import { decodedWords } from './header.js';
import { clean } from './text.js';

/** How much of a subject its pattern sees, in UTF-16 code units. */
const MAX_SUBJECT = 1_000;

type AccountRule = MailSource['account'];

/** The recipients of one mail that concern the same account of the same source: together one message. */
export interface Group {
  readonly source: Source<MailSource>;
  readonly account: string;
  /** Folded addresses, in the order they were named. */
  readonly recipients: string[];
}

/** Names (lower case) of the header fields these sources take accounts from. */
export function fieldsFor(sources: Iterable<Source<MailSource>>): Set<string> {
  const names = new Set<string>();
  for (const { definition } of sources) {
    if (definition.account.from === 'header') names.add(definition.account.header.toLowerCase());
    if (definition.account.from === 'subject') names.add('subject');
  }
  return names;
}

export function grouped(
  recipients: ReadonlyMap<string, Source<MailSource>>,
  sender: MailAddress,
  fields: ReadonlyMap<string, string>,
): Group[] {
  const groups = new Map<string, Group>();
  for (const [recipient, source] of recipients) {
    const account = accountOf(source.definition.account, recipient, sender, fields);
    const key = `${source.tenant.id} ${source.id} ${account}`;
    const group = groups.get(key);
    if (group) group.recipients.push(recipient);
    else groups.set(key, { source, account, recipients: [recipient] });
  }
  return [...groups.values()];
}

/** Whom the mail concerns. A rule that finds nothing falls back to the recipient: no mail is without account. */
function accountOf(
  rule: AccountRule,
  recipient: string,
  sender: MailAddress,
  fields: ReadonlyMap<string, string>,
): string {
  switch (rule.from) {
    case 'recipient':
      return recipient;
    case 'sender':
      return folded(sender) || recipient;
    case 'header':
      return bounded(decodedWords(fields.get(rule.header.toLowerCase()) ?? '')) || recipient;
    case 'subject':
      return bounded(captured(rule.pattern, decodedWords(fields.get('subject') ?? ''))) || recipient;
    default: {
      const never: never = rule;
      return never;
    }
  }
}

function bounded(text: string): string {
  return clean(text, FIELD_LIMITS.account);
}

/** Compiled patterns by their text. Sources are few and change seldom; the bound is there for a server that runs for years. */
const compiled = new Map<string, RE2JS | null>();
const MAX_COMPILED = 1_000;

/** The first capture group's match, or the whole match of a pattern without groups; `''` where there is none. */
function captured(pattern: string, subject: string): string {
  const matcher = expression(pattern)?.matcher(subject.slice(0, MAX_SUBJECT));
  if (!matcher?.find()) return '';
  return matcher.group(Math.min(1, matcher.groupCount())) ?? '';
}

/** Null for a pattern that is none: the configuration says so when it is read; a mail is not refused for it. */
function expression(pattern: string): RE2JS | null {
  const known = compiled.get(pattern);
  if (known !== undefined) return known;
  if (compiled.size >= MAX_COMPILED) compiled.clear();
  const made = compile(pattern);
  compiled.set(pattern, made);
  return made;
}

function compile(pattern: string): RE2JS | null {
  try {
    return RE2JS.compile(pattern);
  } catch {
    return null;
  }
}
