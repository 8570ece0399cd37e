import { Ajv2020, type ErrorObject, type ValidateFunction } from 'ajv/dist/2020.js';
import { isLosslessNumber } from 'lossless-json';
import { RE2JS } from 're2js';
import { pointerSteps } from './json/pointer.js';

/** A source's schema (JSON Schema 2020-12), ready to be asked: what of some data does not fit, and the data without it. */
export type SchemaCheck = (data: unknown) => Fitting;

export interface Fitting {
  /** Undefined where nothing is left. */
  readonly data: unknown;
  readonly misfits: readonly Misfit[];
}

export interface Misfit {
  /** JSON pointer (RFC 6901) into the data; empty for all of it. */
  readonly pointer: string;
  /** A sentence, without the value. */
  readonly why: string;
  /** It was taken out; else it is missing. */
  readonly removed: boolean;
}

/** So many fields are taken out one by one; of data that fit worse nothing is used. */
const MOST_MISFITS = 10;

/** Throws an Error with a sentence where the schema itself is none. */
export function compileSchema(schema: object): SchemaCheck {
  refuseSlow(schema);
  const whole = validator(schema);
  const present = validator(withoutRequired(schema) as object);
  return (data) => {
    const misfits: Misfit[] = [];
    if (whole(plain(data))) return { data, misfits };
    const rest = new Rest(data);
    for (let n = 0; n < MOST_MISFITS; n++) {
      if (present(rest.plain)) {
        if (!whole(rest.plain)) misfits.push(rest.misfit(whole, false));
        return { data: rest.data, misfits };
      }
      const misfit = rest.misfit(present, true);
      misfits.push(misfit);
      if (misfit.pointer === '') return { data: undefined, misfits };
    }
    return {
      data: undefined,
      misfits: [...misfits, { pointer: '', why: 'too much of it does not fit', removed: true }],
    };
  };
}

/** Why something is no schema; null where it is one. */
export function schemaProblem(schema: object): string | null {
  try {
    compileSchema(schema);
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** One error at a time, and patterns in linear time: what is checked is hostile. */
function validator(schema: object): ValidateFunction {
  const ajv = new Ajv2020({ strict: false, allErrors: false, validateFormats: false, code: { regExp } });
  return ajv.compile(schema);
}

const regExp = Object.assign(
  (pattern: string) => {
    const compiled = RE2JS.compile(pattern);
    // ajv tells patterns apart by what they say they are.
    return { test: (text: string) => compiled.matcher(text).find(), toString: () => `/${pattern}/` };
  },
  { code: 'linear' },
);

/** What takes more than linear time on some data, or is answered later, and so can't be asked of every message. */
const SLOW: ReadonlySet<string> = new Set(['$async', '$dynamicRef', '$recursiveRef', '$ref', 'uniqueItems']);

function refuseSlow(schema: unknown): void {
  if (typeof schema !== 'object' || schema === null) return;
  for (const [name, value] of Object.entries(schema)) {
    if (SLOW.has(name)) throw new Error(`${name} can not be used here: checking it may take too long`);
    refuseSlow(value);
  }
}

/** Data from which one thing after another is taken out. */
class Rest {
  readonly data: unknown;
  /** The same with plain numbers, as validators take it. */
  readonly plain: unknown;
  /** Of each list, where its elements stood at first: what is said of them names their place in the message. */
  private readonly places = new Map<unknown, number[]>();

  constructor(data: unknown) {
    this.data = this.copy(data);
    this.plain = plain(data);
  }

  /** What a validator has just complained of; `removed` takes it out. */
  misfit({ errors }: ValidateFunction, removed: boolean): Misfit {
    // Last comes the error about the whole choice, where none of several schemas fits.
    const error = errors?.at(-1) as ErrorObject;
    const { instancePath, params, message = 'it does not fit' } = error;
    const extra = params.additionalProperty ?? params.unevaluatedProperty;
    const steps = [...pointerSteps(instancePath), ...(typeof extra === 'string' ? [extra] : [])];
    const pointer = this.placeOf(steps);
    if (removed && steps.length > 0) for (const from of [this.data, this.plain]) this.remove(from, steps);
    return { pointer, why: message, removed };
  }

  private placeOf(steps: readonly string[]): string {
    let at = this.data as Record<string, unknown>;
    return steps
      .map((step) => {
        const place = this.places.get(at)?.[Number(step)] ?? step;
        at = at[step] as Record<string, unknown>;
        return `/${String(place).replaceAll('~', '~0').replaceAll('/', '~1')}`;
      })
      .join('');
  }

  private remove(from: unknown, steps: readonly string[]): void {
    let at = from as Record<string, unknown>;
    for (const step of steps.slice(0, -1)) at = at[step] as Record<string, unknown>;
    const last = steps.at(-1) as string;
    if (Array.isArray(at)) {
      at.splice(Number(last), 1);
      this.places.get(at)?.splice(Number(last), 1);
    } else {
      delete at[last];
    }
  }

  /** Own objects and lists; numbers that a double can't hold stay what they are. */
  private copy(value: unknown): unknown {
    if (typeof value !== 'object' || value === null || isLosslessNumber(value)) return value;
    if (!Array.isArray(value)) {
      return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, this.copy(each)]));
    }
    const list = value.map((each) => this.copy(each));
    this.places.set(list, [...list.keys()]);
    return list;
  }
}

/** As a validator takes it: plain numbers. */
function plain(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (isLosslessNumber(value)) return Number(value.value);
  if (Array.isArray(value)) return value.map(plain);
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, plain(each)]));
}

/** The same schema for what is there, whatever is missing. */
function withoutRequired(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(withoutRequired);
  if (typeof schema !== 'object' || schema === null) return schema;
  const kept = Object.entries(schema).filter(([name, value]) => name !== 'required' || !Array.isArray(value));
  return Object.fromEntries(kept.map(([name, value]) => [name, withoutRequired(value)]));
}
