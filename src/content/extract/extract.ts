import { RE2JS } from 're2js';
import type { Found } from '../../message/found.js';
import type { CanonicalMessage } from '../../message/message.js';
import { follow, numericText, pointerSteps, scalarText } from '../json/pointer.js';
import { currencyCode } from './amount.js';
import type { ExtractorDefinition } from './definition.js';
import { labelKey, labelledLines, USUAL_LABELS } from './lines.js';
import { amountFound, foundOf, type Spelling } from './value.js';

/** Found of one message, and by one extractor. */
const MOST_FOUND = 200;
const MOST_OF_ONE = 50;
/** Characters that expressions look at: of one text, and in all searches together. */
const MOST_IN_TEXT = 64 * 1024;
const MOST_TOGETHER = 512 * 1024;

/** What is there to be looked through. */
export type Searched = Pick<CanonicalMessage, 'kind' | 'envelope' | 'view'>;

/** One way to find data, ready to be asked. It looks no further once it is told that there is enough. */
export interface Extractor {
  find(message: Searched, room: Room): Iterable<Found | undefined>;
}

/** What is left of what one message may cost. */
interface Room {
  characters: number;
}

/** Makes a source's extractors ready. The definitions have been checked. */
export function compileExtractors(definitions: readonly ExtractorDefinition[]): Extractor[] {
  return definitions.map(compileExtractor);
}

/**
 * What extractors find in a message, in their order: each value of a type once, at the first place it was found in. Never
 * throws, and takes time in proportion to the message, up to a bound.
 */
export function extract(message: Searched, extractors: readonly Extractor[]): Found[] {
  const found = new Map<string, Found>();
  const room: Room = { characters: MOST_TOGETHER };
  for (const extractor of extractors) {
    let left = MOST_OF_ONE;
    for (const one of extractor.find(message, room)) {
      if (one) {
        const key = JSON.stringify([one.type, one.value, one.currency]);
        if (!found.has(key)) found.set(key, one);
        if (found.size >= MOST_FOUND) return [...found.values()];
      }
      if (--left === 0) break;
    }
  }
  return [...found.values()];
}

function compileExtractor(definition: ExtractorDefinition): Extractor {
  switch (definition.from) {
    case 'pointer':
      return inJson(definition);
    case 'header': {
      const { type, header, decimal } = definition;
      return inHeader({ type, decimal: decimal ?? null }, header.toLowerCase());
    }
    case 'expression':
      return byExpression(definition);
    case 'lines':
      return inLines(definition);
    case 'calendar':
      return { find: (message) => inCalendars(message.view.data) };
    default: {
      const never: never = definition;
      return never;
    }
  }
}

type Definition<F extends ExtractorDefinition['from']> = Extract<ExtractorDefinition, { from: F }>;

function inJson({ type, pointer, currency }: Definition<'pointer'>): Extractor {
  const [steps, currencySteps] = [pointerSteps(pointer), currency === undefined ? null : pointerSteps(currency)];
  return {
    *find(message) {
      const value = followed(message, steps);
      const named = currencySteps && currencyCode(scalarText(followed(message, currencySteps)));
      for (const [i, one] of [value].flat().slice(0, MOST_OF_ONE).entries()) {
        const text = scalarText(one);
        if (text === undefined) continue;
        const where = Array.isArray(value) ? `${pointer}/${i}` : pointer;
        // Programs write amounts as JSON writes numbers, also in quotes.
        const digits = type === 'amount' ? numericText(one) : null;
        yield digits === null
          ? foundOf({ type, decimal: null }, text, where)
          : amountFound({ digits, currency: named ?? null }, text, where);
      }
    },
  };
}

/** Of an event in the event itself, which is its attributes and its data; of all else in its data. */
function followed({ kind, envelope, view }: Searched, steps: readonly string[]): unknown {
  if (kind !== 'event') return follow(view.data, steps);
  const [first, ...rest] = steps;
  return first === 'data' ? follow(view.data, rest) : follow(envelope, steps);
}

/** A mail's headers are part of its content, those of a webhook or an AMQP message of its envelope. */
function inHeader(spelling: Spelling, name: string): Extractor {
  return {
    *find({ view, envelope }) {
      const where = `header ${name}`;
      for (const [key, value] of view.headers) if (key === name) yield foundOf(spelling, value, where);
      const { headers } = envelope;
      if (typeof headers !== 'object' || headers === null) return;
      for (const [key, value] of Object.entries(headers)) {
        if (key.toLowerCase() !== name) continue;
        for (const one of [value].flat().slice(0, MOST_OF_ONE)) yield foundOf(spelling, scalarText(one) ?? '', where);
      }
    },
  };
}

function byExpression({ type, pattern, in: places, decimal }: Definition<'expression'>): Extractor {
  const spelling = { type, decimal: decimal ?? null };
  const expression = RE2JS.compile(pattern);
  return {
    *find({ view }, room) {
      for (const place of places) {
        const text = (view[place] ?? '').slice(0, Math.max(0, Math.min(MOST_IN_TEXT, room.characters)));
        const matcher = expression.matcher(text);
        let from = 0;
        while (room.characters > 0) {
          // Each search may look at all that is left of the text, however little of it matches.
          room.characters -= Math.max(1, text.length - from);
          if (!matcher.find()) break;
          yield foundOf(spelling, matcher.group(1) ?? '', place);
          from = matcher.end();
        }
      }
    },
  };
}

function inLines({ labels, decimal }: Definition<'lines'>): Extractor {
  const types = new Map(USUAL_LABELS);
  for (const [label, type] of Object.entries(labels)) types.set(labelKey(label), type);
  return {
    *find({ view }) {
      for (const { number, label, value } of labelledLines(view.text ?? '')) {
        const type = types.get(label);
        if (type !== undefined) yield foundOf({ type, decimal: decimal ?? null }, value, `text, line ${number}`);
      }
    },
  };
}

/** Of each item its beginning and end, its place, and who organises it. */
function* inCalendars(data: unknown): Generator<Found | undefined> {
  for (const [c, calendar] of listAt(data, 'calendars').entries()) {
    for (const [i, item] of listAt(calendar, 'items').entries()) {
      const where = (what: string) => `calendar ${c + 1}, item ${i + 1}, ${what}`;
      for (const [type, path] of OF_ITEM) {
        const text = scalarText(follow(item, path));
        if (text !== undefined) yield foundOf({ type, decimal: null }, text, where(path[0] as string));
      }
    }
  }
}

const OF_ITEM: readonly (readonly [type: string, path: readonly string[]])[] = [
  ['date', ['start', 'time']],
  ['date', ['end', 'time']],
  ['address', ['location']],
  ['name', ['organizer', 'name']],
  ['email', ['organizer', 'address']],
];

function listAt(value: unknown, name: string): readonly unknown[] {
  const list = follow(value, [name]);
  return Array.isArray(list) ? list : [];
}
