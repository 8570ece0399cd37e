import type { Address, View } from '../message/view.js';
import { readAddresses } from './address.js';
import { cleanLine } from './clean.js';
import { readDate } from './date.js';
import type { DefectCode, DefectList } from './defects.js';
import { type Field, firstField, type Head } from './head.js';
import { decodeWords } from './words.js';

/** What a view says of a mail's header. The same on every rung. */
export type HeaderView = Pick<
  View,
  'headers' | 'subject' | 'from' | 'to' | 'cc' | 'replyTo' | 'date' | 'messageId' | 'inReplyTo' | 'references'
>;

/** Fields that RFC 5322 allows once, of which the first counts. */
const ONCE: ReadonlySet<string> = new Set([
  'content-transfer-encoding',
  'content-type',
  'date',
  'from',
  'in-reply-to',
  'message-id',
  'mime-version',
  'references',
  'reply-to',
  'sender',
  'subject',
]);

/** Of these, every one is read: leaving out a recipient would be worse. */
const LISTS: ReadonlySet<string> = new Set(['to', 'cc', 'bcc']);

/** How many ids of References or In-Reply-To are kept, and how long they may be, in UTF-16 code units. */
const MAX_IDS = 1_000;
const MAX_ID = 998;

/** What a mail calls itself, and what it answers. */
export type MailIds = Pick<HeaderView, 'messageId' | 'inReplyTo' | 'references'>;

/** The same as `readFields` has them. */
export function readIds({ fields }: Head): MailIds {
  return {
    messageId: ids(firstField(fields, 'message-id'))[0] ?? null,
    inReplyTo: ids(firstField(fields, 'in-reply-to')),
    references: ids(firstField(fields, 'references')),
  };
}

/** Reads a mail's header. Linear, by our own code alone: what it says must not depend on a parser that may have died. */
export function readFields(head: Head, defects: DefectList): HeaderView {
  const first = firstByName(head.fields, defects);
  const addresses = (name: string): Address[] => {
    const fields = LISTS.has(name) ? head.fields.filter((field) => field.name === name) : [first.get(name)];
    return fields.flatMap((field) => (field ? readAddresses(field.value, (code) => defects.add(code, name)) : []));
  };
  const subject = first.get('subject');
  return {
    headers: head.fields.map((field) => [field.name, decoded(field, defects)]),
    subject: subject === undefined ? null : decoded(subject, defects),
    from: addresses('from'),
    to: addresses('to'),
    cc: addresses('cc'),
    replyTo: addresses('reply-to'),
    date: dateOf(first.get('date'), defects),
    ...readIds(head),
  };
}

function firstByName(fields: readonly Field[], defects: DefectList): Map<string, Field> {
  const first = new Map<string, Field>();
  for (const field of fields) {
    if (!first.has(field.name)) first.set(field.name, field);
    else if (LISTS.has(field.name)) defects.add('header_repeated', field.name, 'all were read');
    else if (ONCE.has(field.name)) defects.add('header_repeated', field.name);
  }
  return first;
}

function decoded(field: Field, defects: DefectList): string {
  return cleanLine(decodeWords(field.value, (code: DefectCode) => defects.add(code, field.name)));
}

function dateOf(field: Field | undefined, defects: DefectList): string | null {
  if (field === undefined || field.value === '') {
    defects.add('date_missing', 'date');
    return null;
  }
  const read = readDate(field.value);
  if (!read?.proper) defects.add('date_malformed', 'date');
  return read?.date ?? null;
}

/** Message ids with their angle brackets. A field without any is one id for each word, as old mail programs wrote. */
function ids(field: Field | undefined): string[] {
  if (field === undefined) return [];
  const found: string[] = [];
  const { value } = field;
  let at = value.indexOf('<');
  if (at === -1) {
    const words = value.split(/\s+/, MAX_IDS).filter((word) => word !== '' && word.length <= MAX_ID);
    return words.filter((word) => word.includes('@') || words.length === 1).map((word) => cleanLine(`<${word}>`));
  }
  while (at !== -1 && found.length < MAX_IDS) {
    const end = value.indexOf('>', at);
    if (end === -1) break;
    if (end - at <= MAX_ID) found.push(cleanLine(value.slice(at, end + 1)));
    at = value.indexOf('<', end);
  }
  return found;
}
