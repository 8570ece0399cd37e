import { z } from 'zod';
import { type About, abouts, typeNames } from './setting.js';

/** What the declaration of a setting says, taken out of zod's wrappers. */
export interface Declared {
  readonly type: z.ZodType;
  /** As it would be written in the file; undefined where there is none. */
  readonly default: unknown;
  readonly required: boolean;
  readonly text: string;
  readonly about: About;
}

/** Opens default, prefault and optional, and picks up the text from whichever of them carries it. */
export function declared(schema: z.ZodType): Declared {
  let type = schema;
  let found: Declared = { type, default: undefined, required: true, text: '', about: {} };
  for (;;) {
    const inner = innerOf(type);
    found = {
      type,
      default: found.default ?? defaultOf(type),
      required: found.required && inner === undefined,
      text: found.text || (type.description ?? ''),
      about: { ...abouts.get(type), ...found.about },
    };
    if (inner === undefined || typeNames.get(type)) return found;
    type = inner;
  }
}

/** The keys an object takes; undefined for anything but objects. */
export function shapeOf(schema: z.ZodType): Readonly<Record<string, z.ZodType>> | undefined {
  const { type } = declared(schema);
  return type instanceof z.ZodObject ? (type.shape as Record<string, z.ZodType>) : undefined;
}

/** The alternatives of a discriminated union, with the key that tells them apart; undefined for anything else. */
export function alternativesOf(
  schema: z.ZodType,
):
  | { readonly key: string; readonly options: readonly { readonly value: string; readonly schema: z.ZodType }[] }
  | undefined {
  const { type } = declared(schema);
  if (!(type instanceof z.ZodDiscriminatedUnion)) return undefined;
  const key = type.def.discriminator;
  const options = (type.options as readonly z.ZodType[]).map((option) => ({
    value: String(literalOf(shapeOf(option)?.[key])),
    schema: option,
  }));
  return { key, options };
}

/** What a list holds; undefined for anything but lists. */
export function elementOf(schema: z.ZodType): z.ZodType | undefined {
  const { type } = declared(schema);
  return type instanceof z.ZodArray ? (type.element as z.ZodType) : undefined;
}

/** The schema for the value at `path` of `value`; undefined where the schema has no such place. */
export function schemaAt(schema: z.ZodType, value: unknown, path: readonly PropertyKey[]): z.ZodType | undefined {
  const [step, ...rest] = path;
  const here = chosen(schema, value);
  if (step === undefined) return here;
  const below = stepInto(here, String(step));
  return below && schemaAt(below, at(value, step), rest);
}

/** What a person may write for it: `integer, 1 to 100`. */
export function typeText(schema: z.ZodType): string {
  const { type } = declared(schema);
  const name = typeNames.get(type)?.name;
  if (name !== undefined) return name;
  if (type instanceof z.ZodNumber) return `${type.format === 'safeint' ? 'integer' : 'number'}${bounds(type)}`;
  if (type instanceof z.ZodBoolean) return '`true` or `false`';
  if (type instanceof z.ZodEnum) return type.options.map((option) => `\`${option}\``).join(', ');
  if (type instanceof z.ZodLiteral) return `\`${String(literalOf(type))}\``;
  if (type instanceof z.ZodArray) return `list of ${plural(typeText(type.element as z.ZodType))}`;
  if (type instanceof z.ZodRecord) return 'map';
  if (type instanceof z.ZodObject) return 'group';
  const alternatives = alternativesOf(type);
  if (alternatives)
    return `group; \`${alternatives.key}\` is ${alternatives.options.map(({ value }) => `\`${value}\``).join(', ')}`;
  return type instanceof z.ZodURL ? 'URL' : 'text';
}

function innerOf(type: z.ZodType): z.ZodType | undefined {
  if (type instanceof z.ZodDefault || type instanceof z.ZodPrefault || type instanceof z.ZodOptional) {
    return type.unwrap() as z.ZodType;
  }
  return undefined;
}

function defaultOf(type: z.ZodType): unknown {
  return type instanceof z.ZodDefault || type instanceof z.ZodPrefault ? type.def.defaultValue : undefined;
}

function literalOf(schema: z.ZodType | undefined): unknown {
  return schema instanceof z.ZodLiteral ? schema.value : undefined;
}

/** Of a union the alternative that the value names; everything else as it is, without its wrappers. */
function chosen(schema: z.ZodType, value: unknown): z.ZodType {
  const alternatives = alternativesOf(schema);
  if (!alternatives) return declared(schema).type;
  const named = at(value, alternatives.key);
  return alternatives.options.find((option) => option.value === named)?.schema ?? declared(schema).type;
}

function stepInto(schema: z.ZodType, step: string): z.ZodType | undefined {
  if (schema instanceof z.ZodRecord) return schema.valueType as z.ZodType;
  if (schema instanceof z.ZodArray) return schema.element as z.ZodType;
  const shape = shapeOf(schema);
  return shape && Object.hasOwn(shape, step) ? shape[step] : undefined;
}

function at(value: unknown, step: PropertyKey): unknown {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return undefined;
  return (value as Record<PropertyKey, unknown>)[step];
}

function bounds(type: z.ZodNumber): string {
  const { minValue, maxValue } = type;
  const limited = (bound: number | null): bound is number =>
    bound !== null && Math.abs(bound) < Number.MAX_SAFE_INTEGER;
  if (limited(minValue) && limited(maxValue)) return `, ${minValue} to ${maxValue}`;
  if (limited(minValue)) return `, at least ${minValue}`;
  return limited(maxValue) ? `, at most ${maxValue}` : '';
}

function plural(type: string): string {
  return type.replace(/^(integer|number|group)/, '$1s').replace(/^text$/, 'text');
}
