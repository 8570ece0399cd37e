import { JsonBytes } from '../../content/json/bytes.js';
import type { Found } from '../../message/found.js';
import { grouped } from '../../message/grouped.js';
import type { CanonicalMessage } from '../../message/message.js';
import type { ViewField } from '../../message/view.js';
import type { ThreadHashes } from './keys.js';
import { newText } from './new-text.js';

/** What is kept of a message to compare later ones with: hashes, so that nothing of what it says is kept. */
export interface ThreadContent {
  /** By type of the data found in it, of all its values; null where its source has nothing looked for. */
  readonly fields: Readonly<Record<string, string>> | null;
  /** Of a mail's new text, of all its text where none of it is new, or of the data. */
  readonly text: string;
  /** All of it, since nothing tells what is new there: a text that stands beside it may say only that it is there. */
  readonly html: string | null;
  /** Of attachments. */
  readonly parts: readonly string[];
}

/** Of a mail with more attachments these count; the others are taken for new. */
const MOST_PARTS = 100;

const READ: readonly ViewField[] = ['text', 'html', 'parts', 'data'];

/**
 * What is kept of a message; null where not all of it could be read: then nothing can be said of what it lacks. `found` is
 * null where its source has nothing looked for.
 */
export function threadContent(
  hashes: ThreadHashes,
  { kind, view }: CanonicalMessage,
  found: readonly Found[] | null,
): ThreadContent | null {
  if (READ.some((field) => view.unread.includes(field))) return null;
  const { html } = view;
  const attached = view.parts.filter(({ inline }) => !inline);
  if (attached.length > MOST_PARTS) return null;
  return {
    fields: found && fieldsOf(hashes, found),
    text: kind === 'mail' ? hashes.of('text', mailText(view)) : hashes.of('data', dataText(view)),
    html: html === null ? null : hashes.of('html', html),
    parts: attached.map(({ sha256 }) => hashes.of('part', sha256)),
  };
}

function fieldsOf(hashes: ThreadHashes, found: readonly Found[]): Record<string, string> {
  return Object.fromEntries(
    [...grouped(found, ({ type }) => type)].map(([type, all]) => {
      // In whatever order they stand.
      const values = all.map(({ value, currency = null }) => JSON.stringify([value, currency])).sort();
      return [type, hashes.of('field', JSON.stringify([type, values]))];
    }),
  );
}

/** Two mails without a word of their own may pass on different ones. */
function mailText({ text }: CanonicalMessage['view']): string {
  return newText(text ?? '') || (text ?? '');
}

const json = new JsonBytes();

function dataText({ data, text }: CanonicalMessage['view']): string {
  return data === undefined ? (text ?? '') : json.begin().canonical(data).copy().toString();
}
