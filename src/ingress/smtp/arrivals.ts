import { mailIdentity } from '../../channel/identity.js';
import type { MailSource, Source } from '../../channel/source.js';
import { type Arrival, FIELD_LIMITS } from '../../message/arrival.js';
import { fieldsFor, type Group, grouped } from './account.js';
import { type MailAddress, written } from './address.js';
import type { MailHashes } from './hashes.js';
import { firstFields } from './header.js';
import { clean } from './text.js';

/** Who logged in: the name of an application's token, and its tenant's. */
export interface Login {
  readonly name: string;
  readonly tenant: string;
}

/** One mail as it came: its envelope and its bytes. */
export interface Mail {
  readonly sender: MailAddress;
  /** Sources by the folded address of each recipient. */
  readonly recipients: ReadonlyMap<string, Source<MailSource>>;
  readonly raw: Buffer;
  /** Milliseconds since 1970. */
  readonly arrivedAt: number;
  readonly helo: string;
  readonly remote: string;
  readonly tls: { readonly cipher: string; readonly version: string } | null;
  readonly login: Login | null;
  readonly smtputf8: boolean;
}

/** Whom the mail concerns, and the id its sender gave it. All that is read of it before it is stored. */
export function groupsOf(mail: Mail): { groups: Group[]; messageId: string | null } {
  const wanted = fieldsFor(mail.recipients.values()).add('message-id');
  const fields = firstFields(mail.raw, wanted);
  return { groups: grouped(mail.recipients, mail.sender, fields), messageId: idOf(fields.get('message-id')) };
}

/** One arrival for each recipient's source and account. The bytes and their hashes are shared by all. */
export function arrivalsOf(
  mail: Mail,
  groups: readonly Group[],
  messageId: string | null,
  { contentHash, sha256 }: MailHashes,
): Arrival[] {
  return groups.map((group) => {
    const login = loginFor(mail, group.source);
    return {
      tenant: group.source.tenant,
      source: { id: group.source.id, name: group.source.name },
      kind: 'mail',
      account: group.account,
      type: null,
      externalId: messageId,
      value: null,
      eventTime: null,
      arrivedAt: mail.arrivedAt,
      peer: login ?? mail.remote,
      meta: metaOf(mail, group, login),
      // Every recipient is part of it: a copy that names one more is never taken for this one.
      ...mailIdentity([...group.recipients].sort().join(' '), mail.raw, contentHash),
      onOtherContent: 'duplicate',
      raw: mail.raw,
      ...(sha256 && { sha256 }),
    };
  });
}

/** A login counts for its own tenant's sources only: to others it proves nothing, and its name could be one of theirs. */
function loginFor(mail: Mail, source: Source): string | null {
  if (mail.login === null || mail.login.tenant !== source.tenant.name) return null;
  return clean(mail.login.name, FIELD_LIMITS.peer);
}

function metaOf(mail: Mail, group: Group, login: string | null): string {
  return JSON.stringify({
    from: written(mail.sender),
    to: group.recipients,
    helo: mail.helo,
    tls: mail.tls,
    auth: login,
    remote: mail.remote,
    smtputf8: mail.smtputf8,
  });
}

/** Null where there is none, or one too long to keep: a part of an id is no id. */
function idOf(field: string | undefined): string | null {
  const id = clean(field ?? '', FIELD_LIMITS.id + 1);
  return id === '' || Buffer.byteLength(id) > FIELD_LIMITS.id ? null : id;
}
