import type { SourceDefinition } from '../channel/source.js';
import type { TargetDefinition } from '../delivery/target.js';

/** What stands where a secret is: that it is set, and how many there are. */
interface SetSecrets {
  readonly set: number;
}

const HIDDEN = '***';

/**
 * A definition as it may be shown: secrets and values of header fields as `{"set": 2}`, credentials and query values
 * in URLs as `***`. The path of a URL is shown.
 */
export function redact(definition: SourceDefinition | TargetDefinition): Readonly<Record<string, unknown>> {
  switch (definition.kind) {
    case 'mail':
    case 'events':
    case 'queue':
    case 'pull':
      return definition;
    case 'amqp':
      return { ...definition, ...(definition.url !== undefined && { url: withoutCredentials(definition.url) }) };
    case 'email':
      return { ...definition, server: withoutCredentials(definition.server) };
    case 'webhook':
      return 'verify' in definition
        ? {
            ...definition,
            verify:
              'secrets' in definition.verify
                ? { ...definition.verify, secrets: count(definition.verify.secrets) }
                : definition.verify,
            ...(definition.handshakeToken !== undefined && { handshakeToken: count([definition.handshakeToken]) }),
          }
        : {
            ...definition,
            url: withoutCredentials(definition.url),
            secrets: count(definition.secrets),
            headers: Object.fromEntries(
              Object.entries(definition.headers).map(([name, value]) => [name, count([value])]),
            ),
          };
    default: {
      const never: never = definition;
      return never;
    }
  }
}

function count(secrets: readonly string[]): SetSecrets {
  return { set: secrets.length };
}

function withoutCredentials(text: string): string {
  if (!URL.canParse(text)) return HIDDEN;
  const url = new URL(text);
  if (url.username || url.password) {
    url.username = HIDDEN;
    url.password = '';
  }
  for (const name of new Set(url.searchParams.keys())) url.searchParams.set(name, HIDDEN);
  if (url.hash) url.hash = HIDDEN;
  return url.href;
}
