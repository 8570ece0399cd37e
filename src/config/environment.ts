import { z } from 'zod';
import { didYouMean } from '../routing/spelling.js';
import { declared, shapeOf } from './introspect.js';
import type { Problem } from './problem.js';
import { CONFIG_VARIABLE, clientShape, settingShape } from './schema.js';
import type { Variables } from './variables.js';
import { type Path, pathText } from './yaml.js';

/** A setting that an environment variable overrules. */
export interface Override {
  readonly path: Path;
  readonly variable: string;
  readonly list: boolean;
}

type Shape = Readonly<Record<string, z.ZodType>>;

/** Every setting of `shape` that has a variable, groups opened. */
export function overridesOf(shape: Shape, above: Path = []): Override[] {
  return Object.entries(shape).flatMap(([key, schema]) => {
    const path = [...above, key];
    const { type, about } = declared(schema);
    const below = overridesOf(shapeOf(schema) ?? {}, path);
    return about.env === undefined ? below : [{ path, variable: about.env, list: type instanceof z.ZodArray }];
  });
}

export interface Overlaid {
  /** By path in words: the variable it was taken from. */
  readonly variables: ReadonlyMap<string, string>;
  readonly problems: readonly Problem[];
}

/** Puts what the environment says over `value`, which is changed in place. Lists are written with commas. */
export function overlay(value: Record<string, unknown>, shape: Shape, variables: Variables): Overlaid {
  const taken = new Map<string, string>();
  const problems: Problem[] = [];
  for (const { path, variable, list } of overridesOf(shape)) {
    const looked = variables.look(variable);
    if ('problem' in looked) problems.push({ severity: 'error', place: null, path: variable, ...looked.problem });
    if (!('found' in looked)) continue;
    place(value, path, list ? looked.found.split(',').map((item) => item.trim()) : looked.found);
    taken.set(pathText(path), variable);
  }
  return { variables: taken, problems };
}

function place(value: Record<string, unknown>, path: Path, what: unknown): void {
  const [step, ...rest] = path;
  const key = String(step);
  if (rest.length === 0) {
    value[key] = what;
    return;
  }
  const below = value[key];
  // What is no group is complained about by the schema; the variable can't be put into it.
  if (below !== undefined && (typeof below !== 'object' || below === null || Array.isArray(below))) return;
  const group = (below ?? {}) as Record<string, unknown>;
  value[key] = group;
  place(group, rest, what);
}

/** `WAYBILL_HTPP`, `WAYBIL_HTTP`: set, meant for Waybill, and read by nobody. */
export function unknownVariables(variables: Variables): Problem[] {
  const known = [
    CONFIG_VARIABLE.name,
    ...[...overridesOf(settingShape), ...overridesOf(clientShape)].map((o) => o.variable),
  ];
  const ours = new Set(known.flatMap((name) => [name, `${name}_FILE`]));
  return Object.entries(variables.env)
    .filter(([name, value]) => value && isMeantForUs(name) && !ours.has(name) && !variables.used(name))
    .map(([name]) => {
      const suggestion = didYouMean(name, known);
      const problem = { severity: 'warning', code: 'variable_unknown', place: null, path: name } as const;
      const message = 'this environment variable is not known and has no effect';
      return suggestion === undefined ? { ...problem, message } : { ...problem, message, suggestion };
    });
}

function isMeantForUs(name: string): boolean {
  const prefix = name.split('_')[0] ?? '';
  return name.includes('_') && didYouMean(prefix, ['WAYBILL']) !== undefined;
}
