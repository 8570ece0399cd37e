import { z } from 'zod';
import type { Principal } from '../../src/access/principal.js';
import type {
  BillingDefinition,
  BillingKind,
  MeterDefinition,
  RateCard,
  Subscription,
} from '../../src/billing/definitions.js';
import { nameSchema } from '../../src/channel/source.js';
import {
  BILLING_SCHEMAS,
  getBilling,
  listBilling,
  putBilling,
  removeBilling,
  type StoredBilling,
} from '../../src/storage/billing.js';
import { editProblem } from '../billing.js';
import { readCursor, writeCursor } from '../cursor.js';
import { cursorSchema, nameParams, text } from '../fields.js';
import { caller, notFound } from '../problem.js';
import type { ApiRequest, Reply, Route } from '../route.js';
import { accountPath, sections } from './billing-words.js';
import { DEFINITION_TEXT, definitionText, readDefinition, type TextProblem } from './definition-text.js';
import type { PageDeps } from './deps.js';
import { address, given, readForm } from './form.js';
import { visible } from './isolated.js';
import { showJson } from './json.js';
import { type Site, seeOther } from './show.js';
import { when } from './words.js';

const PAGE = 50;

interface Kind {
  readonly kind: BillingKind;
  /** In addresses. */
  readonly path: 'meters' | 'rate-cards' | 'subscriptions';
  readonly title: string;
  readonly word: string;
  /** What it is for. */
  readonly about: string;
  readonly removal: string;
  /** What the first one may look like. */
  readonly example: BillingDefinition | object;
}

const KINDS: readonly Kind[] = [
  {
    kind: 'meter',
    path: 'meters',
    title: 'Meters',
    word: 'meter',
    about:
      'A meter says which events count, and how. It counts what comes after it was made, and is not changed: make another one.',
    removal: 'It counts no more; what it has counted stays.',
    example: {
      type: 'storage.used',
      aggregation: 'sum',
      value: '/data/bytes',
      unit: 'GB',
      dimensions: { region: '/data/region' },
    },
  },
  {
    kind: 'rate-card',
    path: 'rate-cards',
    title: 'Rate cards',
    word: 'rate card',
    about: 'A rate card says what usage costs, by the day its prices hold from.',
    removal: 'Final statements stay as they are.',
    example: {
      currency: 'EUR',
      versions: [
        {
          from: '2026-01-01',
          prices: [
            { model: 'flat', name: 'Base', amount: '10' },
            { model: 'per_unit', meter: 'storage', price: '0.02', free: '100' },
          ],
        },
      ],
    },
  },
  {
    kind: 'subscription',
    path: 'subscriptions',
    title: 'Subscriptions',
    word: 'subscription',
    about: 'A subscription gives an account its rate card, from a day on. Without one its usage has no price.',
    removal: 'Final statements stay as they are.',
    example: { account: 'acme', rateCard: 'basic', currency: 'EUR', zone: 'Europe/Berlin', from: '2026-01-01' },
  },
];

const listQuery = z.object({
  cursor: given(cursorSchema),
  /** One to be changed, or to make another one like it. */
  edit: given(nameSchema),
  /** Of a meter to be made: the events it is for. */
  type: given(text(512)),
  done: given(z.enum(['put', 'remove'])),
  of: given(nameSchema),
});
type ListQuery = z.infer<typeof listQuery>;

const putForm = z.object({
  name: z.string().trim().max(100),
  definition: z
    .string()
    .transform((written) => written.replace(/\r\n?/g, '\n'))
    .pipe(z.string().max(DEFINITION_TEXT)),
  version: given(z.coerce.number().int().min(1)),
});
type PutForm = z.infer<typeof putForm>;

type Failed =
  | {
      readonly form: PutForm;
      readonly why: string;
      readonly problems: readonly TextProblem[];
      readonly status: number;
    }
  | { readonly refused: string; readonly status: number };

/** Meters, rate cards and subscriptions: what they say, and making and removing them. */
export function billingDefinitionPages(deps: PageDeps, site: Site): Route[] {
  return KINDS.flatMap((kind) => pagesOf(deps, site, kind));
}

function pagesOf(deps: PageDeps, site: Site, kind: Kind): Route[] {
  const path = `/billing/${kind.path}`;
  return [
    {
      method: 'get',
      path,
      permission: 'billing.read',
      summary: `All ${kind.word}s`,
      query: listQuery,
      replies: { 200: { description: 'The page', type: 'text/html' } },
      handler: ({ principal, query }: ApiRequest<unknown, ListQuery>) =>
        showKind(deps, site, caller(principal), kind, query, null),
    },
    {
      method: 'post',
      path,
      permission: 'billing.write',
      summary: `Make or change a ${kind.word}`,
      body: 'form',
      replies: { 303: { description: 'Done' }, 409: { description: 'It does not fit what is there' } },
      handler: ({ principal, body }: ApiRequest) => put(deps, site, caller(principal), kind, readForm(putForm, body)),
    },
    {
      method: 'get',
      path: `${path}/:name/remove`,
      permission: 'billing.read',
      summary: 'Where a page that says why it was not removed leads when it is opened again',
      params: nameParams,
      replies: { 303: { description: 'To the list' } },
      handler: async () => seeOther(path),
    },
    {
      method: 'post',
      path: `${path}/:name/remove`,
      permission: 'billing.write',
      summary: `Take a ${kind.word} out of use`,
      params: nameParams,
      body: 'form',
      replies: { 303: { description: 'Out of use' }, 409: { description: 'Something names it' } },
      handler: async ({ principal, params: { name } }: ApiRequest<{ name: string }>) => {
        const by = caller(principal);
        const { tenant, who } = by;
        const removed = await removeBilling(deps.pool, tenant, kind.kind, name, { expected: 'any', who });
        if (removed.result !== 'ok') {
          const { detail, status } = editProblem(kind.word, name, removed);
          return showKind(deps, site, by, kind, {}, { refused: `“${name}” stays: ${detail}`, status });
        }
        await deps.configurationChanged();
        return seeOther(address(path, { done: 'remove', of: name }));
      },
    },
  ];
}

async function put(deps: PageDeps, site: Site, by: Principal, kind: Kind, form: PutForm): Promise<Reply> {
  const again = (why: string, problems: readonly TextProblem[] = [], status = 422) =>
    showKind(deps, site, by, kind, {}, { form, why, problems, status });
  const { name, version } = form;
  if (!nameSchema.safeParse(name).success)
    return again('A name is made of lower-case letters, digits and -, at most 63, and begins with a letter or digit.');
  const schema: z.ZodType<BillingDefinition> = BILLING_SCHEMAS[kind.kind];
  const read = readDefinition(form.definition, schema);
  if (!read.ok) return again('Nothing was saved:', read.problems);
  const who = { expected: version ?? ('absent' as const), who: by.who };
  const written = await putBilling(deps.pool, by.tenant, kind.kind, name, read.value, who);
  if (written.result === 'version_mismatch') {
    const why =
      version === undefined
        ? `There is a ${kind.word} "${name}" already.`
        : `Somebody else has changed "${name}" meanwhile: open it again.`;
    return again(why, [], 409);
  }
  if (written.result !== 'ok') {
    const { detail, status } = editProblem(kind.word, name, written);
    return again(detail, [], status);
  }
  await deps.configurationChanged();
  return seeOther(address(`/billing/${kind.path}`, { done: 'put', of: name }));
}

async function showKind(
  deps: PageDeps,
  site: Site,
  by: Principal,
  kind: Kind,
  { cursor, edit, type, done, of }: ListQuery,
  failed: Failed | null,
): Promise<Reply> {
  const { pool } = deps;
  const path = `/billing/${kind.path}`;
  const after = cursor === undefined ? '' : readCursor(kind.path, cursor, z.string().max(63));
  const found = await listBilling(pool, by.tenant.id, kind.kind, { after, limit: PAGE });
  const last = found.length === PAGE ? found.at(-1) : undefined;
  const edited = edit === undefined ? undefined : await getBilling(pool, by.tenant.id, kind.kind, edit);
  if (edit !== undefined && !edited) throw notFound(kind.word);
  const now = deps.now();
  const status = failed?.status ?? 200;
  return site.show({ template: 'billing-definitions', title: kind.title, part: 'billing', status }, by, {
    sections: sections(kind.path),
    heading: kind.title,
    word: kind.word,
    about: kind.about,
    removal: kind.removal,
    action: path,
    isMeter: kind.kind === 'meter',
    rows: found.map((one) => rowOf(one, kind, now)),
    first: cursor !== undefined && path,
    next: last !== undefined && address(path, { cursor: writeCursor(kind.path, last.name) }),
    empty: found.length === 0 && cursor === undefined,
    mayWrite: by.permissions.has('billing.write'),
    ...(failed && 'form' in failed
      ? { form: failed.form, failed: failed.why, problems: failed.problems }
      : { form: formOf(kind, edited, type, found.length === 0), refused: failed?.refused }),
    done: done && of && { did: done === 'put' ? `“${of}” is in use.` : `“${of}” is out of use. ${kind.removal}` },
  });
}

/** What stands in the form at first. A meter is never changed: another one begins with what it says. */
function formOf(kind: Kind, edited: StoredBilling | undefined, type: string | undefined, first: boolean) {
  const changing = edited !== undefined && kind.kind !== 'meter' && edited.managedBy === 'api';
  if (edited) {
    const { definition, name, version } = edited;
    return { name: changing ? name : '', version: changing && version, definition: definitionText(definition) };
  }
  const example = type === undefined ? kind.example : { type, aggregation: 'count' };
  return { name: '', version: false, definition: first || type !== undefined ? definitionText(example) : '' };
}

function rowOf(
  { name, definition, managedBy, version, createdAt, updatedAt }: StoredBilling,
  { kind, path }: Kind,
  now: number,
) {
  const changes = kind !== 'meter';
  return {
    name,
    says: wordsOf(kind, definition),
    accountHref: kind === 'subscription' && accountPath((definition as Subscription).account),
    since: when(createdAt, now),
    changed: version > 1 && when(updatedAt, now),
    version,
    byFile: managedBy === 'file',
    json: showJson(definition),
    edit: address(`/billing/${path}`, { edit: name }),
    editLabel: changes ? 'Change' : 'Make another like it',
    remove: managedBy === 'api' && `/billing/${path}/${name}/remove`,
  };
}

/** A definition in a line. */
function wordsOf(kind: BillingKind, definition: BillingDefinition): string {
  switch (kind) {
    case 'meter': {
      const { aggregation, value, unit, type, dimensions } = definition as MeterDefinition;
      const by = Object.keys(dimensions);
      const what = value === undefined ? aggregation : `${aggregation} of ${value}`;
      return visible(
        `${what}${unit === undefined ? '' : ` in ${unit}`}, of ${type}${by.length === 0 ? '' : `, by ${by.join(', ')}`}`,
      );
    }
    case 'rate-card': {
      const { currency, versions } = definition as RateCard;
      const latest = versions.at(-1);
      return `${currency}; prices from ${versions
        .map(({ from }) => from)
        .slice(-3)
        .join(', ')}; ${latest?.prices.length ?? 0} in the latest`;
    }
    case 'subscription': {
      const { account, rateCard, from, until } = definition as Subscription;
      return visible(`${account}: ${rateCard} from ${from}${until === undefined ? '' : ` until ${until}`}`);
    }
    default: {
      const never: never = kind;
      throw new Error(`no such kind: ${String(never)}`);
    }
  }
}
