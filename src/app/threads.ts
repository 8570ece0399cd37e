import { readIds } from '../content/fields.js';
import { readHead } from '../content/head.js';
import { MAIL_LIMITS } from '../content/limits.js';
import type { StoredMessage } from '../message/message.js';
import type { ThreadPort } from '../owner/state.js';
import { threadContent } from '../routing/thread/content.js';
import { accountKeys, keyedKeys, mailKeys, ThreadHashes } from '../routing/thread/keys.js';

/** What of the configuration says which messages belong together. */
export interface ThreadDirectory {
  /** `account`, or a JSON pointer; null where messages of a source stand alone. */
  threadKey(tenant: number, source: number): string | null;
  extractors(tenant: number, source: number): readonly unknown[];
  /** Of a mail source. */
  accountIsRecipient(tenant: number, source: number): boolean;
}

/** Conversations as the owner needs them: mails by their ids, what comes by other sources by the key these name. */
export function createThreadPort(secret: Uint8Array, directory: () => ThreadDirectory): ThreadPort {
  const hashes = new Map<number, ThreadHashes>();
  function hashesOf({ tenant }: Pick<StoredMessage, 'tenant'>): ThreadHashes {
    const known = hashes.get(tenant) ?? new ThreadHashes(secret, tenant);
    hashes.set(tenant, known);
    return known;
  }
  return {
    mayBelong: ({ kind, tenant, source }) => kind === 'mail' || directory().threadKey(tenant, source) !== null,
    keysOf({ message, canonical }) {
      const { kind, tenant, source } = message;
      if (kind === 'mail') {
        return mailKeys(hashesOf(message), canonical, source, directory().accountIsRecipient(tenant, source));
      }
      const key = directory().threadKey(tenant, source);
      return key === null ? null : keyedKeys(hashesOf(message), canonical, source, key);
    },
    keysOfUnread(message) {
      const { kind, tenant, source, account, raw } = message;
      if (kind === 'mail') {
        const view = readIds(readHead(Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength), MAIL_LIMITS));
        return mailKeys(hashesOf(message), { view, account }, source, directory().accountIsRecipient(tenant, source));
      }
      // Another key is in what can't be read yet.
      const key = directory().threadKey(tenant, source);
      return key === 'account' ? accountKeys(hashesOf(message), account, source) : null;
    },
    contentOf({ message, canonical }) {
      const looksForData = directory().extractors(message.tenant, message.source).length > 0;
      return threadContent(hashesOf(message), canonical, looksForData ? canonical.found : null);
    },
  };
}
