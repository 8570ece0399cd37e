import type { Address } from '../message/view.js';
import { cleanLine } from './clean.js';
import type { DefectCode } from './defects.js';
import { decodeWords } from './words.js';

/** How many addresses of one field are read. */
const MAX_ADDRESSES = 1_000;
/** The longest address and name that are kept, in UTF-16 code units (RFC 5321 allows an address 254 bytes). */
const MAX_ADDRESS = 320;
const MAX_NAME = 512;

/**
 * Reads a list of addresses (RFC 5322: `Anna <anna@example.com>, bob@example.com, friends: carl@example.com;`).
 * Groups are flattened. What has no address keeps its text as name, with an empty address. Linear in the length.
 */
export function readAddresses(value: string, note: (code: DefectCode) => void): Address[] {
  const found: Address[] = [];
  /** A comment where an address should be: it is a name without one if nothing else is there. */
  let onlyComment = '';
  const reader = new EntryReader(value);
  for (let entry = reader.next(); entry !== null; entry = reader.next()) {
    if (found.length === MAX_ADDRESSES) {
      note('too_many_addresses');
      break;
    }
    const address = addressOf(entry, note);
    if (address !== null) found.push(address);
    else if (!entry.inGroup) onlyComment ||= entry.comment;
    if (entry.broken) note('address_malformed');
  }
  return found.length === 0 && onlyComment !== '' ? [checked('', onlyComment, note)] : found;
}

/** What stands between two commas, taken apart but not yet judged. */
interface Entry {
  /** What stands in angle brackets; null without any. */
  readonly angle: string | null;
  /** Everything outside angle brackets and comments: quotes kept, and quotes removed. */
  readonly written: string;
  readonly spoken: string;
  readonly comment: string;
  /** It is the first of a group, or all there is of one. */
  readonly inGroup: boolean;
  /** An `@` stands outside of quotes, brackets and comments. */
  readonly hasAt: boolean;
  /** A quote, comment or bracket is not closed. */
  readonly broken: boolean;
}

function addressOf(entry: Entry, note: (code: DefectCode) => void): Address | null {
  const { angle, written, spoken, comment } = entry;
  if (angle !== null) {
    // In a name it stands in quotes, lest somebody take the name for the address.
    if (entry.hasAt) note('address_malformed');
    return checked(withoutRoute(angle), spoken.trim() || comment, note);
  }
  const words = written.split(/\s+/).filter((word) => word !== '');
  if (words.length === 0) return null;
  const at = words.findIndex((word) => word.includes('@'));
  if (at === -1) return checked('', spoken, note);
  const others = words.filter((_, index) => index !== at).join(' ');
  if (others !== '') note('address_malformed');
  return checked(words[at] as string, others || comment, note);
}

const PLAIN_ADDRESS = /^[^\s@()<>[\]:;,\\"]+@(?:[^\s@()<>[\]:;,\\"]+|\[[^\s@()<>[\]\\]+\])$/;

function checked(address: string, name: string, note: (code: DefectCode) => void): Address {
  const plain = cleanLine(withoutBlanks(address));
  const isAddress = plain.length <= MAX_ADDRESS && (PLAIN_ADDRESS.test(plain) || isQuotedAddress(plain));
  if (!isAddress) note('address_malformed');
  const kept = cleanLine(plain, MAX_ADDRESS);
  const shown = cleanLine(decodeWords(name, note), MAX_NAME);
  return { name: shown === kept ? '' : shown, address: kept };
}

/** `anna @ example . com`: blanks that RFC 822 allowed around these two. */
function withoutBlanks(address: string): string {
  return address.length > 2 * MAX_ADDRESS ? address : address.replace(/\s*([.@])\s*/g, '$1');
}

/** `"anna smith"@example.com`: anything may stand in the quotes. */
function isQuotedAddress(address: string): boolean {
  const at = address.lastIndexOf('@');
  return address.startsWith('"') && address[at - 1] === '"' && at > 1 && /^[^\s@"]+$/.test(address.slice(at + 1));
}

/** `@relay.example,@other.example:anna@example.com`: the way in front was given up in 1989. */
function withoutRoute(address: string): string {
  const text = address.trim();
  return text.startsWith('@') ? text.slice(text.indexOf(':') + 1).trim() : text;
}

class EntryReader {
  private at = 0;
  /** A quote was opened and never closed: from there on they are characters like any other. */
  private quotesEnded = false;

  constructor(private readonly value: string) {}

  /** The next entry, empty ones included; null at the end. */
  next(): Entry | null {
    if (this.at >= this.value.length) return null;
    const written: string[] = [];
    const spoken: string[] = [];
    const comments: string[] = [];
    let angle: string | null = null;
    let broken = false;
    let inGroup = false;
    let hasAt = false;
    while (this.at < this.value.length) {
      const char = this.value[this.at] as string;
      if (char === ',' || char === ';') {
        this.at++;
        break;
      }
      if (char === '"' && !this.quotesEnded) {
        const quoted = this.quoted();
        broken ||= quoted === null;
        if (quoted === null) continue;
        written.push(`"${quoted}"`);
        spoken.push(quoted);
      } else if (char === '(') {
        const comment = this.comment();
        broken ||= !comment.closed;
        comments.push(comment.text);
      } else if (char === '<') {
        const bracket = this.bracket();
        broken ||= !bracket.closed;
        angle ??= bracket.text;
      } else if (char === ':' && angle === null && !hasAt) {
        // What stood before it names a group.
        this.at++;
        inGroup = true;
        written.length = 0;
        spoken.length = 0;
      } else {
        const atom = this.atom();
        hasAt ||= atom.includes('@');
        written.push(atom);
        spoken.push(atom);
      }
    }
    const comment = comments.join(' ');
    return { angle, written: written.join(''), spoken: spoken.join(''), comment, inGroup, hasAt, broken };
  }

  /** What stands in quotes; null where they are not closed, and then only the opening one is passed over. */
  private quoted(): string | null {
    const text: string[] = [];
    let from = this.at + 1;
    for (let at = from; at < this.value.length; at++) {
      const char = this.value[at];
      if (char === '"') {
        text.push(this.value.slice(from, at));
        this.at = at + 1;
        return text.join('');
      }
      if (char === '\\') {
        text.push(this.value.slice(from, at));
        from = ++at;
      }
    }
    this.at++;
    this.quotesEnded = true;
    return null;
  }

  private comment(): { text: string; closed: boolean } {
    const from = ++this.at;
    let depth = 1;
    for (; this.at < this.value.length; this.at++) {
      const char = this.value[this.at];
      if (char === '\\') this.at++;
      else if (char === '(') depth++;
      else if (char === ')' && --depth === 0) return { text: this.value.slice(from, this.at++), closed: true };
    }
    return { text: this.value.slice(from), closed: false };
  }

  private bracket(): { text: string; closed: boolean } {
    const text: string[] = [];
    let from = ++this.at;
    const isRoute = this.value[from] === '@';
    while (this.at < this.value.length) {
      const char = this.value[this.at];
      if (char === '>') {
        text.push(this.value.slice(from, this.at++));
        return { text: text.join(''), closed: true };
      }
      // A list goes on: the bracket was forgotten.
      if ((char === ',' && !isRoute) || char === '<') break;
      if (char === '(') {
        text.push(this.value.slice(from, this.at));
        this.comment();
        from = this.at;
      } else {
        this.at++;
      }
    }
    text.push(this.value.slice(from, this.at));
    return { text: text.join(''), closed: false };
  }

  private atom(): string {
    const from = this.at;
    while (this.at < this.value.length && !SPECIAL.has(this.value[this.at] as string)) this.at++;
    // A special character that means nothing here is text.
    if (this.at === from) this.at++;
    return this.value.slice(from, this.at);
  }
}

const SPECIAL: ReadonlySet<string> = new Set([',', ';', '"', '(', '<', ':']);
