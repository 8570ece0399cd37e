import { dirname, resolve } from 'node:path';
import type { TenantDefinitions } from '../routing/definitions.js';
import { check } from './check.js';
import { valueAt } from './complaint.js';
import { readDefinitions } from './definitions.js';
import { overlay, unknownVariables } from './environment.js';
import { FileUnreadable, type ReadFile, readFileWithin, readText } from './files.js';
import { inOrder, type Problem } from './problem.js';
import {
  type ClientSettings,
  CONFIG_VARIABLE,
  clientSchema,
  clientShape,
  fileSchema,
  type Settings,
  settingShape,
} from './schema.js';
import { Variables } from './variables.js';
import { Whereabouts } from './whereabouts.js';
import { emptyReading, type Path, pathText, type Reading, readYaml } from './yaml.js';

const LARGEST_FILE = 1024 * 1024;
const LARGEST_CERTIFICATE = 1024 * 1024;

export interface LoadFrom {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly readFile?: ReadFile;
}

export type Loaded =
  | {
      readonly ok: true;
      /** Paths in it are absolute. */
      readonly settings: Settings;
      /** What the file names, tenant `default` first. */
      readonly definitions: readonly TenantDefinitions[];
      readonly warnings: readonly Problem[];
    }
  | { readonly ok: false; readonly problems: readonly Problem[] };

/** Reads settings and definitions from the environment and the file it names. Finds every problem at once. */
export function loadSettings({ env, readFile = readFileWithin }: LoadFrom): Loaded {
  const variables = new Variables(env, readFile);
  const file = env[CONFIG_VARIABLE.name] || CONFIG_VARIABLE.default;
  const reading = readConfiguration(file, readFile, variables);
  const overlaid = overlay(reading.value, settingShape, variables);
  const where = new Whereabouts(reading.places, overlaid.variables);
  const checked = check(fileSchema, reading.value, (path) => where.isFromVariable(path));
  const definitions = readDefinitions(reading.value, file, where, readFile);

  const found = [
    ...reading.problems,
    ...overlaid.problems,
    ...news(checked.complaints, reading).map((complaint) => where.complaint(complaint)),
    ...definitions.problems,
    ...unreadableFiles(reading.value, file, where, readFile),
    ...unknownVariables(variables),
  ];
  if (!checked.data || found.some(({ severity }) => severity === 'error')) {
    // When all else holds the database decides the doubts; until then they are told along with the rest.
    return { ok: false, problems: inOrder([...found, ...definitions.doubts]) };
  }
  const { sources, targets, meters, rateCards, subscriptions, rulesFile, tenants, ...settings } = checked.data;
  return {
    ok: true,
    settings: withAbsolutePaths(settings, file, where),
    definitions: definitions.tenants,
    warnings: inOrder(found),
  };
}

export type LoadedClient =
  | { readonly ok: true; readonly settings: ClientSettings; readonly warnings: readonly Problem[] }
  | { readonly ok: false; readonly problems: readonly Problem[] };

/** What the `waybill` command needs to call a running Waybill: from the environment, no file is read for it. */
export function loadClientSettings({ env, readFile = readFileWithin }: LoadFrom): LoadedClient {
  const variables = new Variables(env, readFile);
  const value = {};
  const overlaid = overlay(value, clientShape, variables);
  const where = new Whereabouts(emptyReading('').places, overlaid.variables);
  const checked = check(clientSchema, value, (path) => where.isFromVariable(path));
  const problems = inOrder([
    ...overlaid.problems,
    ...checked.complaints.map((complaint) => where.complaint(complaint)),
  ]);
  if (!checked.data || problems.length > 0) return { ok: false, problems };
  return { ok: true, settings: checked.data, warnings: unknownVariables(variables) };
}

function readConfiguration(file: string, readFile: ReadFile, variables: Variables): Reading {
  try {
    return readYaml(readText(readFile, file, LARGEST_FILE), file, variables);
  } catch (error) {
    if (!(error instanceof FileUnreadable)) throw error;
    const message = `the configuration file ${error.message}; ${CONFIG_VARIABLE.name} may name another`;
    const place = { file, line: 1, column: 1 };
    return {
      ...emptyReading(file),
      problems: [{ severity: 'error', code: 'file_unreadable', place, path: '', message }],
    };
  }
}

/** Complaints that nothing said before: a value whose variable is not set need not be called missing as well. */
function news<C extends { readonly path: Path }>(complaints: readonly C[], reading: Reading): C[] {
  const said = new Set(reading.problems.map(({ path }) => path));
  return complaints.filter(({ path }) => !said.has(pathText(path)));
}

/** Files that some part will read once it starts; better to know now. */
const NEEDED_FILES: readonly Path[] = [
  ['smtp', 'tls', 'certificate'],
  ['smtp', 'tls', 'key'],
];

function unreadableFiles(value: unknown, file: string, where: Whereabouts, readFile: ReadFile): Problem[] {
  return NEEDED_FILES.flatMap((path) => {
    const named = valueAt(value, path);
    if (typeof named !== 'string') return [];
    try {
      readFile(absolute(path, named, file, where), LARGEST_CERTIFICATE);
      return [];
    } catch (error) {
      if (!(error instanceof FileUnreadable)) throw error;
      return [where.problem(path, 'file_unreadable', `the file ${named} ${error.message}`)];
    }
  });
}

function withAbsolutePaths(settings: Settings, file: string, where: Whereabouts): Settings {
  const { data, smtp } = settings;
  const tls = smtp.tls && {
    certificate: absolute(['smtp', 'tls', 'certificate'], smtp.tls.certificate, file, where),
    key: absolute(['smtp', 'tls', 'key'], smtp.tls.key, file, where),
  };
  return { ...settings, data: absolute(['data'], data, file, where), smtp: { ...smtp, tls } };
}

/** What the file says is meant from where the file is; defaults and variables from where the program was started. */
function absolute(path: Path, named: string, file: string, where: Whereabouts): string {
  return where.isInFile(path) ? resolve(dirname(file), named) : resolve(named);
}
