import type { Pool } from 'pg';
import { type LoadFrom, loadSettings } from '../config/load.js';
import { formatProblem } from '../config/problem.js';
import type { Settings } from '../config/schema.js';
import type { TenantDefinitions } from '../routing/definitions.js';
import { type Applied, type ApplyWish, applyDefinitions, formatApplyProblem } from '../storage/apply.js';

/** The configuration does not hold; every line says where and what. */
export class ConfigurationInvalid extends Error {
  override readonly name = 'ConfigurationInvalid';
  constructor(readonly problems: readonly string[]) {
    super(problems.join('\n'));
  }
}

export interface Configuration {
  readonly settings: Settings;
  readonly definitions: readonly TenantDefinitions[];
  readonly warnings: readonly string[];
}

/** Reads file and environment. Throws ConfigurationInvalid with every problem at once. */
export function readConfiguration(from: LoadFrom): Configuration {
  const loaded = loadSettings(from);
  if (!loaded.ok) throw new ConfigurationInvalid(loaded.problems.map(formatProblem));
  const { settings, definitions, warnings } = loaded;
  return { settings, definitions, warnings: warnings.map(formatProblem) };
}

/** Makes the database name what the file names, or tries it. Throws ConfigurationInvalid, and then nothing has changed. */
export async function applyConfiguration(
  pool: Pool,
  definitions: readonly TenantDefinitions[],
  by: ApplyWish,
): Promise<Extract<Applied, { ok: true }>> {
  const applied = await applyDefinitions(pool, definitions, by);
  if (!applied.ok) throw new ConfigurationInvalid(applied.problems.map(formatApplyProblem));
  return applied;
}
