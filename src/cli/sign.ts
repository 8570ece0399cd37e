import { createHmac } from 'node:crypto';

/** How a webhook source expects its deliveries to be signed; as `verify` of its definition, without the secrets. */
export type Scheme =
  | { readonly scheme: 'standard' | 'github' | 'stripe' | 'token' | 'none' }
  | {
      readonly scheme: 'hmac';
      readonly header: string;
      readonly algorithm: 'sha256' | 'sha512' | 'sha1';
      readonly encoding: 'hex' | 'base64';
      readonly prefix: string;
    };

export interface Delivery {
  readonly id: string;
  readonly sentAt: Date;
  readonly body: Buffer;
}

/** The headers by which a delivery says what it is and proves where it comes from; without a secret it proves nothing. */
export function deliveryHeaders(
  scheme: Scheme,
  secret: string | undefined,
  delivery: Delivery,
): Record<string, string> {
  const { id, sentAt, body } = delivery;
  const seconds = Math.floor(sentAt.getTime() / 1000);
  const hmac = (key: string, prefix = '') => createHmac('sha256', key).update(prefix).update(body).digest('hex');
  switch (scheme.scheme) {
    case 'standard':
      return {
        'webhook-id': id,
        'webhook-timestamp': String(seconds),
        ...(secret !== undefined && { 'webhook-signature': standardSignature(secret, id, seconds, body) }),
      };
    case 'github':
      return {
        'x-github-delivery': id,
        'x-github-event': 'sample',
        ...(secret !== undefined && { 'x-hub-signature-256': `sha256=${hmac(secret)}` }),
      };
    case 'stripe':
      if (secret === undefined) return {};
      return { 'stripe-signature': `t=${seconds},v1=${hmac(secret, `${seconds}.`)}` };
    case 'hmac': {
      if (secret === undefined) return {};
      const signature = createHmac(scheme.algorithm, secret).update(body).digest(scheme.encoding);
      return { [scheme.header.toLowerCase()]: `${scheme.prefix}${signature}` };
    }
    case 'token':
    case 'none':
      return {};
    default: {
      const never: never = scheme;
      return never;
    }
  }
}

/** Standard Webhooks over the bytes; a secret that someone made up is no base64, and is taken as it is. */
function standardSignature(secret: string, id: string, seconds: number, body: Buffer): string {
  const encoded = secret.replace(/^whsec_/, '');
  const isBase64 = Buffer.from(encoded, 'base64').toString('base64').replace(/=+$/, '') === encoded.replace(/=+$/, '');
  const key = isBase64 ? Buffer.from(encoded, 'base64') : Buffer.from(secret);
  return `v1,${createHmac('sha256', key).update(`${id}.${seconds}.`).update(body).digest('base64')}`;
}
