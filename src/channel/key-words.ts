import type { StoredMessage } from '../message/message.js';
import type { AmqpSource, SourceDefinition, WebhookSource } from './source.js';

/**
 * What tells a message apart from others of its source (DESIGN 1, Identity), in words: two that are alike in it are one.
 * By the source as it is defined now. Null where that is gone.
 */
export function keyWords(
  { kind, externalId }: Pick<StoredMessage, 'kind' | 'externalId'>,
  envelope: Readonly<Record<string, unknown>>,
  definition: SourceDefinition | null,
): string | null {
  switch (kind) {
    case 'mail':
      return `its recipients${list(envelope.to)} and its bytes without trace fields`;
    case 'event':
      return `its CloudEvents source${text(envelope.source)} and id${text(externalId)}`;
    case 'webhook':
      return definition?.kind === 'webhook' ? webhookWords(definition, externalId) : null;
    case 'amqp':
      return definition?.kind === 'amqp' && definition.identity ? amqpWords(definition.identity, externalId) : null;
    default: {
      const never: never = kind;
      return never;
    }
  }
}

const NEW = 'nothing: every delivery is new';
const BODY = 'a hash of its whole body';

function webhookWords({ identity, verify }: WebhookSource, id: string | null): string {
  if (identity?.from === 'body') return BODY;
  if (id === null) return NEW;
  if (identity?.from === 'header') return `the header ${identity.header} (${id})`;
  if (identity?.from === 'pointer') return `${identity.pointer} in its body (${id})`;
  switch (verify.scheme) {
    case 'standard':
      return `the header webhook-id (${id})`;
    case 'github':
      return `the header X-GitHub-Delivery (${id})`;
    case 'stripe':
      return `/id in its body (${id})`;
    case 'hmac':
    case 'token':
    case 'none':
      return NEW;
    default: {
      const never: never = verify;
      return never;
    }
  }
}

function amqpWords(identity: AmqpSource['identity'], id: string | null): string {
  switch (identity.from) {
    case 'message-id':
      return `its messageId${text(id)}`;
    case 'header':
      return `the header ${identity.header}${text(id)}`;
    case 'pointer':
      return `${identity.pointer} in its body${text(id)}`;
    case 'body':
      return BODY;
    case 'none':
      return NEW;
    default: {
      const never: never = identity;
      return never;
    }
  }
}

/** Recipients that are named; a mail may have thousands. */
const NAMED = 5;

function list(values: unknown): string {
  const all = Array.isArray(values) ? values.filter((one) => typeof one === 'string') : [];
  const rest = all.length - NAMED;
  return text(all.length === 0 ? null : `${all.slice(0, NAMED).join(', ')}${rest > 0 ? ` and ${rest} more` : ''}`);
}

/** What it is in this message, where that is known. */
function text(value: unknown): string {
  return typeof value === 'string' ? ` (${value})` : '';
}
