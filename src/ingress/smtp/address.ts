import { domainToASCII } from 'node:url';

/** RFC 5321 4.5.3.1.3, without the angle brackets. In bytes of UTF-8. */
const MAX_ADDRESS_BYTES = 254;

/** A mail address in the one form in which addresses are compared and kept. */
export interface MailAddress {
  /** Composed Unicode (NFC) as its sender wrote it; `''` only in the null sender. */
  readonly local: string;
  /** Lower case, internationalised domains in their ASCII form (`xn--…`); `''` for the null sender and a bare `postmaster`. */
  readonly domain: string;
}

/** The null sender, `<>`. */
export const NOBODY: MailAddress = { local: '', domain: '' };

/** Reads what smtp-server took for an address. Undefined where no such address can exist or it is too long. */
export function mailAddress(text: string): MailAddress | undefined {
  const at = text.lastIndexOf('@');
  const local = (at === -1 ? text : text.slice(0, at)).normalize('NFC');
  const domain = at === -1 ? '' : asciiDomain(text.slice(at + 1));
  if (domain === undefined || Buffer.byteLength(local) + 1 + domain.length > MAX_ADDRESS_BYTES) return undefined;
  return { local, domain };
}

/** Names and address literals in ASCII need no conversion, which costs more than all the rest. */
const ASCII = /^[\x20-\x7e]*$/;

function asciiDomain(domain: string): string | undefined {
  if (ASCII.test(domain)) return domain.toLowerCase();
  return domainToASCII(domain).toLowerCase() || undefined;
}

/** `Anna+shop@example.com`: as it was written but for its domain. */
export function written(address: MailAddress): string {
  return address.domain === '' ? address.local : `${address.local}@${address.domain}`;
}

/** `anna+shop@example.com`: all in lower case, tags kept. What sources are found by, and the account of a mail. */
export function folded(address: MailAddress): string {
  return written(address).toLowerCase();
}

/** RFC 5321 4.5.1: postmaster, whatever its case. */
export function isPostmaster(address: MailAddress): boolean {
  return address.local.toLowerCase() === 'postmaster';
}
