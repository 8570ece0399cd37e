import { isLosslessNumber } from 'lossless-json';
import type { CanonicalMessage } from '../../message/message.js';
import type { Address } from '../../message/view.js';

/*
 * What is learnt from of a message: short texts `<field>:<word>`, each once. Whoever sends a message chooses how many there
 * could be, so every field has its bound, and the work is linear in what is looked at.
 */

/** Characters of a text that are looked at, and of all texts of `data` together. Whoever reads a message to learn from it needs no more of its text either. */
export const TEXT_LOOKED_AT = 20_000;
const WORD_CHARACTERS = 32;
/** Digits of a number that may still be a year or a code; longer ones name one thing once. */
const NUMBER_DIGITS = 4;
const MOST = { from: 3, subject: 30, text: 200, defect: 20, part: 20, data: 100, found: 20 } as const;
const DATA_NODES = 500;
const DATA_DEPTH = 8;
const NAME_CHARACTERS = 256;

/** Everything about a message that may speak for a target or against it. Never fails, whatever the message holds. */
export function featuresOf(message: CanonicalMessage): string[] {
  const { view } = message;
  const found = new Set<string>();
  const add = (field: string, words: Iterable<string>) => {
    for (const word of words) found.add(`${field}:${word}`);
  };
  add('kind', [message.kind]);
  add('source', [message.source]);
  add('account', [shorten(message.account.toLowerCase(), NAME_CHARACTERS)]);
  if (message.type !== null) add('type', [shorten(message.type, NAME_CHARACTERS)]);
  const from = view.from.slice(0, MOST.from).map(addressOf);
  add('from', from);
  add('domain', from.flatMap(domainsOf));
  add('subject', wordsOf(view.subject ?? '', MOST.subject));
  add('text', wordsOf(view.text ?? '', MOST.text));
  add(
    'defect',
    distinct(view.defects, MOST.defect, ({ code }) => code),
  );
  add(
    'part',
    distinct(view.parts, MOST.part, ({ type }) => shorten(type.toLowerCase(), NAME_CHARACTERS)),
  );
  add('data', dataWords(view.data));
  add(
    'found',
    distinct(message.found, MOST.found, ({ type }) => type),
  );
  return [...found];
}

function addressOf({ address }: Address): string {
  return shorten(address.toLowerCase(), NAME_CHARACTERS);
}

/** `mail.shop.example.com` also belongs to `example.com`. */
function domainsOf(address: string): string[] {
  const domain = address.slice(address.lastIndexOf('@') + 1);
  if (domain === '' || domain === address) return [];
  const parent = domain.split('.').slice(-2).join('.');
  return parent === domain ? [domain] : [domain, parent];
}

function distinct<T>(items: readonly T[], most: number, wordOf: (item: T) => string): Set<string> {
  const words = new Set<string>();
  for (const item of items) {
    if (words.size >= most) break;
    words.add(wordOf(item));
  }
  return words;
}

const RUN = /[\p{L}\p{M}\p{N}]+/gu;
const NUMBER = /^\p{N}+$/u;
/** Scripts that write no blanks between words. */
const UNSPACED =
  /^[\p{scx=Han}\p{scx=Hiragana}\p{scx=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]+$/u;

/** The first words of a text, in lower case, each once; of scripts without blanks every two characters. */
export function wordsOf(text: string, most: number): Set<string> {
  const words = new Set<string>();
  // What folding makes of a few characters can be long; format characters only split words for those who look.
  const folded = text.slice(0, TEXT_LOOKED_AT).normalize('NFKC').slice(0, TEXT_LOOKED_AT);
  for (const [run] of folded
    .replace(/\p{Cf}+/gu, '')
    .toLowerCase()
    .matchAll(RUN)) {
    for (const word of UNSPACED.test(run) ? pairs(run) : [run]) {
      if (words.size >= most) return words;
      if (isTelling(word)) words.add(shorten(word, WORD_CHARACTERS));
    }
  }
  return words;
}

function* pairs(run: string): Generator<string> {
  let before: string | undefined;
  for (const character of run) {
    if (before !== undefined) yield before + character;
    before = character;
  }
}

function isTelling(word: string): boolean {
  return word.length > 1 && (word.length <= NUMBER_DIGITS || !NUMBER.test(word));
}

/** Which members there are, and the words of their texts: `customer.country`, `customer.country=de`. Lists are gone through. */
function dataWords(data: unknown): Set<string> {
  const words = new Set<string>();
  const ahead: { readonly node: unknown; readonly path: string; readonly depth: number }[] = [
    { node: data, path: '', depth: 0 },
  ];
  let room = TEXT_LOOKED_AT;
  for (let looked = 0; looked < DATA_NODES && words.size < MOST.data; looked++) {
    const next = ahead.pop();
    if (!next) break;
    const { node, path, depth } = next;
    if (path !== '') words.add(path);
    if (typeof node === 'string') {
      for (const word of wordsOf(node.slice(0, room), MOST.data)) words.add(`${path}=${word}`);
      room = Math.max(0, room - node.length);
    } else if (typeof node === 'boolean') {
      words.add(`${path}=${node}`);
    } else if (typeof node === 'object' && node !== null && !isLosslessNumber(node) && depth < DATA_DEPTH) {
      for (const [name, value] of membersOf(node).reverse()) {
        ahead.push({ node: value, path: Array.isArray(node) ? path : joined(path, name), depth: depth + 1 });
      }
    }
  }
  return new Set([...words].slice(0, MOST.data));
}

function membersOf(node: object): [string, unknown][] {
  if (Array.isArray(node)) return node.slice(0, DATA_NODES).map((value: unknown): [string, unknown] => ['', value]);
  const members: [string, unknown][] = [];
  for (const name in node) {
    if (members.length >= DATA_NODES) break;
    if (Object.hasOwn(node, name)) members.push([name, (node as Record<string, unknown>)[name]]);
  }
  return members;
}

function joined(path: string, name: string): string {
  return shorten(path === '' ? name : `${path}.${name}`, NAME_CHARACTERS);
}

/** Cuts between characters, never within a surrogate pair. */
function shorten(text: string, length: number): string {
  return text.length <= length ? text : text.slice(0, length).replace(/[\uD800-\uDBFF]$/, '');
}
