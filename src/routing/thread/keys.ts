import { createHash, hash } from 'node:crypto';
import { follow, pointerSteps, scalarText } from '../../content/json/pointer.js';
import type { CanonicalMessage } from '../../message/message.js';
import type { View } from '../../message/view.js';

/** What joins a message with others. Hashes in hex, by the installation's secret. */
export interface ThreadKeys {
  /** Of what leads to its thread, the nearest first, each once. */
  readonly references: readonly string[];
  /** Of the source, and of mail the address it came to where accounts are that: only those of one party follow each other. */
  readonly party: string;
}

/** What of a mail joins it with others: in its header, which can be read when nothing else of it can. */
export interface MailNames {
  readonly account: string;
  readonly view: Pick<View, 'messageId' | 'inReplyTo' | 'references'>;
}

/** Ids that count of one mail: its own, those it answers, and of its References the last. */
const MOST_REFERENCES = 50;
const MOST_ANSWERED = 10;
/** `<>` names nothing. */
const SHORTEST_ID = 3;

/** Longer texts are hashed where they are; for shorter ones that takes longer than to copy them. */
const LONG = 1_000;

/** Hashes of what is kept to compare messages by: without the secret nobody can tell what they are of. */
export class ThreadHashes {
  readonly #secret: Buffer;

  constructor(
    secret: Uint8Array,
    readonly tenant: number,
  ) {
    this.#secret = Buffer.from(secret);
  }

  /** 16 bytes in hex. `what` is one word, so that no text can pass for one of another kind. */
  of(what: string, text: string): string {
    const kind = `thread ${this.tenant} ${what} `;
    const digest =
      text.length > LONG
        ? createHash('sha256').update(this.#secret).update(kind).update(text).digest('hex')
        : hash('sha256', Buffer.concat([this.#secret, Buffer.from(kind + text)]), 'hex');
    return digest.slice(0, 32);
  }
}

/** What joins a mail with others; null for one without any id. `byRecipient`: its account is the address it came to. */
export function mailKeys(
  hashes: ThreadHashes,
  { view, account }: MailNames,
  source: number,
  byRecipient: boolean,
): ThreadKeys | null {
  const ids = idsOf(view);
  if (ids.length === 0) return null;
  return {
    references: ids.map((id) => hashes.of('id', id)),
    party: hashes.of('party', byRecipient ? `${source} ${account}` : String(source)),
  };
}

function idsOf({ messageId, inReplyTo, references }: MailNames['view']): string[] {
  const own = messageId === null ? [] : [messageId];
  const named = [...own, ...inReplyTo.slice(0, MOST_ANSWERED), ...references.slice(-MOST_REFERENCES).reverse()];
  return [...new Set(named.filter(isId))].slice(0, MOST_REFERENCES);
}

function isId(id: string): boolean {
  return id.length >= SHORTEST_ID;
}

/** What joins an event, a webhook delivery or an AMQP message with others of its source; null where it does not have it. */
export function keyedKeys(
  hashes: ThreadHashes,
  message: CanonicalMessage,
  source: number,
  key: string,
): ThreadKeys | null {
  if (key === 'account') return accountKeys(hashes, message.account, source);
  const value = scalarText(follow(rootOf(message), pointerSteps(key)));
  return value === undefined ? null : keysOf(hashes, value, source);
}

/** The same of a source whose key is the account, which is known before anything is read. */
export function accountKeys(hashes: ThreadHashes, account: string, source: number): ThreadKeys {
  return keysOf(hashes, account, source);
}

function keysOf(hashes: ThreadHashes, value: string, source: number): ThreadKeys {
  return {
    references: [hashes.of('key', `${source} ${value}`)],
    party: hashes.of('party', String(source)),
  };
}

/** What a pointer looks into: of an event its attributes and `data`, of anything else its body. */
function rootOf({ kind, envelope, view }: CanonicalMessage): unknown {
  return kind === 'event' ? { ...envelope, data: view.data } : view.data;
}
