import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { z } from 'zod';
import { meterSchema, rateCardSchema, subscriptionSchema } from '../billing/definitions.js';
import { sourceDefinitionSchema } from '../channel/source.js';
import { targetDefinitionSchema } from '../delivery/target.js';
import { overridesOf } from './environment.js';
import { alternativesOf, declared, elementOf, shapeOf, typeText } from './introspect.js';
import { CONFIG_VARIABLE, clientShape, fileSchema, settingShape, tenantSchema } from './schema.js';

type Shape = Readonly<Record<string, z.ZodType>>;

/** One line of a table: what one setting is. */
interface Entry {
  readonly name: string;
  readonly type: string;
  readonly default: string;
  readonly variable: string;
  readonly text: string;
}

/** The page `docs/configuration.md`, made from the declarations of all settings. */
export function configurationReference(): string {
  const parts = [HOW_IT_IS_READ, settingsPart(), definitionsPart(), variablesPart()];
  return `${parts.join('\n\n')}\n`;
}

const HOW_IT_IS_READ = `# Configuration

<!-- Made by \`npm run docs\` from src/config/schema.ts, src/channel/source.ts, src/delivery/target.ts and src/billing/definitions.ts. Edit those. -->

Waybill reads one YAML file, \`${CONFIG_VARIABLE.default}\`, or the one that \`${CONFIG_VARIABLE.name}\` names. Nothing in it is
required: a file with \`sources\` and \`targets\` alone is complete. Environment variables overrule the file.

* **Settings** are read when a process starts.
* **Sources, targets, meters, rate cards, subscriptions and rules** are put into the database at the start and by \`waybill apply\`: all of them, or none when
  something doesn't hold. What the file names can be changed in the file alone; the API answers 409 \`managed_by_file\`.
  What the file names no more is removed. What was made over the API is left alone.
* **Problems** are reported all at once, each with file, line and column.
* \`\${NAME}\` in a value stands for an environment variable, \`\${NAME:-text}\` for the variable or, where it is not set, the
  text; \`$\${\` is a plain \`\${\`. What a variable holds is taken as it is. Within \`{ }\` and \`[ ]\`
  it needs quotes: \`["\${NAME}"]\`. The rules file is not searched for variables.
* **Secrets in files**: where NAME is wanted and NAME_FILE is set, the file it names is read instead. That holds for
  \`\${NAME}\` and for every variable on this page.
* A **size** is a number of bytes, or a number with a unit: \`512 kB\`, \`25 MB\`, \`32 MiB\`.
* **Paths** in the file are meant from the folder the file is in, those in variables from where Waybill was started.
* A key without a value (\`smtp:\` and nothing behind it) is as if it weren't there.`;

function settingsPart(): string {
  const groups = Object.entries(settingShape).filter(([, schema]) => shapeOf(schema));
  const single = Object.fromEntries(Object.entries(settingShape).filter(([, schema]) => !shapeOf(schema)));
  const parts = groups.map(([name, schema]) => {
    const text = declared(schema).text;
    return `### ${name}\n\n${text}\n\n${settingsTable(entries(shapeOf(schema) ?? {}, `${name}.`))}`;
  });
  return ['## Settings', settingsTable(entries(single, '')), ...parts].join('\n\n');
}

function definitionsPart(): string {
  const { sources, targets, meters, rateCards, subscriptions, rulesFile, tenants } = fileSchema.shape;
  const [source, target] = [kindsOf(sourceDefinitionSchema, 'source'), kindsOf(targetDefinitionSchema, 'target')];
  const { channels } = tenantSchema.shape;
  return [
    '## Sources, targets, billing, rules, tenants',
    'What stands at the top of the file belongs to tenant `default`. Names are lower-case letters, digits and hyphens.',
    table(
      ['key', 'text'],
      Object.entries({ sources, targets, meters, rateCards, subscriptions, rulesFile, tenants }).map(
        ([name, schema]) => [`\`${name}\``, declared(schema).text],
      ),
    ),
    source,
    target,
    `### A meter\n\nSee [billing.md](billing.md). It is not changed once it counts: name another one beside it.\n\n${tableOf(meterSchema)}`,
    `### A rate card\n\n${tableOf(rateCardSchema)}`,
    `### A subscription\n\n${tableOf(subscriptionSchema)}`,
    `### A tenant\n\nUnder \`tenants\`, by name: all of these as above, and\n\n${definitionTable(entries({ channels }, ''))}`,
  ].join('\n\n');
}

function tableOf(schema: z.ZodType): string {
  return definitionTable(entries(shapeOf(schema) ?? {}, ''));
}

function kindsOf(schema: z.ZodType, what: string): string {
  const options = alternativesOf(schema)?.options ?? [];
  const parts = options.map(({ value, schema: option }) => {
    const { kind: _, ...shape } = shapeOf(option) ?? {};
    return `### A ${what} of kind \`${value}\`\n\n${definitionTable(entries(shape, ''))}`;
  });
  return parts.join('\n\n');
}

function variablesPart(): string {
  const settings = overridesOf(settingShape).map(({ variable, path }) => [
    `\`${variable}\``,
    `setting \`${path.join('.')}\``,
  ]);
  const client = Object.values(clientShape).map((schema) => {
    const entry = entryOf('', schema);
    const otherwise = entry.default === '' ? '' : ` Without it ${entry.default}.`;
    return [`\`${entry.variable}\``, `for the \`waybill\` command: ${entry.text}${otherwise}`];
  });
  const file = [`\`${CONFIG_VARIABLE.name}\``, `the file all this is in; \`${CONFIG_VARIABLE.default}\` without it`];
  const rows = [file, ...settings, ...client];
  return `## Environment variables\n\nOthers that begin with \`WAYBILL_\` are warned of.\n\n${table(['variable', 'what it is'], rows)}`;
}

/** The lines for a group, those of groups and lists of groups within it behind their own. */
function entries(shape: Shape, prefix: string): Entry[] {
  return Object.entries(shape).flatMap(([key, schema]) => {
    const name = `${prefix}${key}`;
    const element = elementOf(schema);
    const below = shapeOf(schema);
    const listed = element && shapeOf(element);
    return [
      entryOf(name, schema),
      ...(below ? entries(below, `${name}.`) : []),
      ...(listed ? entries(listed, `${name}[].`) : []),
      ...(below || listed ? [] : alternativeEntries(name, element ?? schema)),
    ];
  });
}

/** The keys that go with each choice of a group that takes several forms. */
function alternativeEntries(name: string, schema: z.ZodType): Entry[] {
  const alternatives = alternativesOf(schema);
  const found = new Map<string, Entry & { readonly choices: string[] }>();
  for (const { value, schema: option } of alternatives?.options ?? []) {
    const { [alternatives?.key ?? '']: _, ...shape } = shapeOf(option) ?? {};
    for (const entry of entries(shape, `${name}.`)) {
      const known = found.get(`${entry.name} ${entry.text}`);
      if (known) known.choices.push(`\`${value}\``);
      else found.set(`${entry.name} ${entry.text}`, { ...entry, choices: [`\`${value}\``] });
    }
  }
  return [...found.values()].map(({ choices, ...entry }) => ({
    ...entry,
    text: `Where \`${alternatives?.key}\` is ${choices.join(', ')}: ${entry.text}`,
  }));
}

function entryOf(name: string, schema: z.ZodType): Entry {
  const { about, text, required, default: otherwise } = declared(schema);
  const choices = (alternativesOf(schema)?.options ?? [])
    .map(({ value, schema: option }) => ({ value, text: declared(option).text }))
    .filter((option) => option.text !== '')
    .map((option) => ` \`${option.value}\`: ${option.text}`);
  return {
    name,
    type: `${typeText(schema)}${about.unit === undefined ? '' : ` (${about.unit})`}`,
    default: required ? 'required' : defaultText(otherwise),
    variable: about.env ?? '',
    text: `${text}${choices.join('')}${about.secret ? ' Secret.' : ''}`,
  };
}

function defaultText(value: unknown): string {
  if (value === undefined) return '';
  if (Array.isArray(value)) return value.length === 0 ? 'none' : value.map((item) => `\`${item}\``).join(', ');
  if (typeof value !== 'object' || value === null) return value === '' ? 'none' : `\`${value}\``;
  const pairs = Object.entries(value).map(([key, item]) => `\`${key}: ${item}\``);
  return pairs.length === 0 ? 'none' : pairs.join(', ');
}

function settingsTable(rows: readonly Entry[]): string {
  return table(
    ['setting', 'type', 'default', 'variable', 'text'],
    rows.map(({ name, type, default: otherwise, variable, text }) => {
      return [`\`${name}\``, type, otherwise, variable && `\`${variable}\``, text];
    }),
  );
}

function definitionTable(rows: readonly Entry[]): string {
  return table(
    ['key', 'type', 'default', 'text'],
    rows.map(({ name, type, default: otherwise, text }) => [`\`${name}\``, type, otherwise, text]),
  );
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [head, head.map(() => '---'), ...rows];
  return lines.map((cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`).join('\n');
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  writeFileSync('docs/configuration.md', configurationReference());
