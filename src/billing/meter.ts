import { hash } from 'node:crypto';
import { type Wanted, wantedBy } from '../content/json/exact.js';
import { follow, pointerSteps, scalarText } from '../content/json/pointer.js';
import { decimalKey, parseDecimal } from '../routing/decimal.js';
import { compileWildcard } from '../routing/wildcard.js';
import type { MeterDefinition } from './definitions.js';
import { ALWAYS_WANTED, documentOf, namesNoAccount, type UsageMessage } from './event.js';
import { readValue, type ValueCode } from './exact.js';

/** Marks of the channels at which something began or ended, by channel; those that are not named stood at 0. */
export type Marks = Readonly<Record<string, number>>;

export interface Meter {
  readonly id: number;
  readonly name: string;
  readonly definition: MeterDefinition;
  /** It counts what came after these marks … */
  readonly since: Marks;
  /** … up to these; null while it is in use. */
  readonly until: Marks | null;
}

/** Why an event that a meter is for was not counted. Stable. */
export type ProblemCode = ValueCode | 'account_missing' | 'unit_wrong' | 'dimension_invalid' | 'member_invalid';

/** What one event comes to for one meter. */
export interface Measured {
  readonly meter: Meter;
  /** Canonical JSON of the dimensions: the same text for the same usage. */
  readonly dimensions: string;
  /** As the sender wrote it; null for counts and unique members. */
  readonly value: string | null;
  /** 16 bytes of a hash of what is told apart, for unique. */
  readonly member: string | null;
}

export interface Measurement {
  readonly measured: readonly Measured[];
  readonly problems: readonly { readonly meter: Meter; readonly code: ProblemCode }[];
  /** No meter is for this type: it is kept, and counted as unmetered. */
  readonly unmetered: boolean;
  /** A meter in use is for it: usage might be missing, could it not be read. */
  readonly concerned: boolean;
  /** What meters look at in the event's JSON, and what tells it apart; read when it is asked for. */
  readonly document: () => unknown;
}

/** The meters for one type of one source, and what they look at in an event. */
interface Candidates {
  readonly meters: readonly Compiled[];
  readonly wanted: Wanted | 'all';
}

interface Compiled {
  readonly meter: Meter;
  readonly matches: (type: string) => boolean;
  readonly value: readonly string[];
  readonly unit: readonly string[] | null;
  readonly dimensions: readonly (readonly [name: string, steps: readonly string[]])[];
  readonly filter: readonly (readonly [steps: readonly string[], values: ReadonlySet<string>])[];
}

/** Types and sources remembered with their meters; senders choose types. */
const MOST_KNOWN = 10_000;
const MOST_DIMENSION = 128;
/** Of all dimensions together, in bytes: they are part of an index. */
const MOST_DIMENSIONS = 1_500;

/** The meters of a tenant, made ready: an event is held against those of its type alone. */
export class Meters {
  readonly #all: readonly Compiled[];
  /** By source and type. */
  readonly #known = new Map<string, Map<string, Candidates>>();
  #remembered = 0;

  constructor(meters: readonly Meter[]) {
    this.#all = meters.map(compile);
  }

  get none(): boolean {
    return this.#all.length === 0;
  }

  /** `given` is the event's JSON, where it is not the message's own. */
  measure(
    message: UsageMessage,
    place: { readonly channel: number; readonly sequence: number },
    given?: unknown,
  ): Measurement {
    const candidates = this.#of(message.type, message.source);
    const meters = candidates.meters.filter(({ meter }) => isInUse(meter, place));
    if (meters.length === 0) return candidates.meters.length === 0 ? UNMETERED : NOTHING;
    const read: { value?: unknown } = given === undefined ? {} : { value: given };
    const document = () => {
      if (!('value' in read)) read.value = documentOf(message, candidates.wanted);
      return read.value;
    };
    const measured: Measured[] = [];
    const problems: { meter: Meter; code: ProblemCode }[] = [];
    const noAccount = given === undefined && namesNoAccount(message, document);
    for (const compiled of meters) {
      const result = measureOne(compiled, document);
      if (result === 'filtered') continue;
      if (noAccount) problems.push({ meter: compiled.meter, code: 'account_missing' });
      else if (typeof result === 'string') problems.push({ meter: compiled.meter, code: result });
      else measured.push(result);
    }
    return { measured, problems, unmetered: false, concerned: true, document };
  }

  #of(type: string | null, source: string): Candidates {
    const known = this.#known.get(source)?.get(type ?? '');
    if (known) return known;
    if (this.#remembered >= MOST_KNOWN) {
      this.#known.clear();
      this.#remembered = 0;
    }
    const meters = this.#all.filter(
      ({ meter, matches }) => matches(type ?? '') && (meter.definition.source ?? source) === source,
    );
    const found = { meters, wanted: wantedBy([...ALWAYS_WANTED, ...meters.flatMap(pointersOf)]) };
    const ofSource = this.#known.get(source) ?? new Map<string, Candidates>();
    this.#known.set(source, ofSource.set(type ?? '', found));
    this.#remembered++;
    return found;
  }
}

/** All that a meter looks at in an event. */
function pointersOf({ meter, value, unit, dimensions, filter }: Compiled): (readonly string[])[] {
  const steps = [...dimensions.map(([, step]) => step), ...filter.map(([step]) => step)];
  if (meter.definition.value !== undefined) steps.push(value);
  if (unit !== null) steps.push(unit);
  return steps;
}

const NONE: readonly never[] = [];
const NOTHING: Measurement = {
  measured: NONE,
  problems: NONE,
  unmetered: false,
  concerned: false,
  document: () => undefined,
};
const UNMETERED: Measurement = { ...NOTHING, unmetered: true };

function compile(meter: Meter): Compiled {
  const { type, value, unitFrom, dimensions, filter } = meter.definition;
  return {
    meter,
    matches: compileWildcard(type),
    value: value === undefined ? NONE : pointerSteps(value),
    unit: unitFrom === undefined ? null : pointerSteps(unitFrom),
    dimensions: Object.entries(dimensions)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, pointer]) => [name, pointerSteps(pointer)]),
    filter: Object.entries(filter).map(([pointer, values]) => [pointerSteps(pointer), new Set([values].flat())]),
  };
}

function isInUse({ since, until }: Meter, { channel, sequence }: { channel: number; sequence: number }): boolean {
  return sequence > (since[channel] ?? 0) && (until === null || sequence <= (until[channel] ?? 0));
}

function measureOne(compiled: Compiled, document: () => unknown): Measured | ProblemCode | 'filtered' {
  const { meter, value, unit, dimensions, filter } = compiled;
  for (const [steps, values] of filter) {
    const found = scalarOf(follow(document(), steps));
    if (found === undefined || !values.has(found)) return 'filtered';
  }
  if (unit !== null && follow(document(), unit) !== meter.definition.unit) return 'unit_wrong';
  const grouped = dimensions.length === 0 ? '{}' : dimensionsText(dimensions, document());
  if (grouped === undefined) return 'dimension_invalid';
  switch (meter.definition.aggregation) {
    case 'count':
      return { meter, dimensions: grouped, value: null, member: null };
    case 'unique': {
      const member = memberOf(follow(document(), value));
      return member.ok ? { meter, dimensions: grouped, value: null, member: member.hash } : member.code;
    }
    case 'sum':
    case 'max':
    case 'min':
    case 'last': {
      const read = readValue(follow(document(), value));
      return read.ok ? { meter, dimensions: grouped, value: read.text, member: null } : read.code;
    }
    default: {
      const never: never = meter.definition.aggregation;
      return never;
    }
  }
}

/** Names are sorted already. What is not there is the empty text, which is a value of its own. */
function dimensionsText(dimensions: Compiled['dimensions'], document: unknown): string | undefined {
  const values: Record<string, string> = {};
  for (const [name, steps] of dimensions) {
    const value = follow(document, steps);
    const text = value === undefined || value === null ? '' : scalarOf(value);
    if (text === undefined || text.length > MOST_DIMENSION || text.includes('\0')) return undefined;
    values[name] = text;
  }
  const text = JSON.stringify(values);
  return Buffer.byteLength(text) > MOST_DIMENSIONS ? undefined : text;
}

function scalarOf(value: unknown): string | undefined {
  return typeof value === 'boolean' ? String(value) : scalarText(value);
}

type Member =
  | { readonly ok: true; readonly hash: string }
  | { readonly ok: false; readonly code: 'value_missing' | 'member_invalid' };

/** Equal numbers are one member however they are written; the number 7 and the text "7" are two. */
function memberOf(value: unknown): Member {
  if (value === undefined || value === null) return { ok: false, code: 'value_missing' };
  const text = scalarOf(value);
  if (text === undefined) return { ok: false, code: 'member_invalid' };
  const number = typeof value === 'string' ? undefined : parseDecimal(text);
  const key = number ? `n:${decimalKey(number)}` : `${typeof value === 'boolean' ? 'b' : 's'}:${text}`;
  return { ok: true, hash: hash('sha256', key, 'hex').slice(0, 32) };
}
