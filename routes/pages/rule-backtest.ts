import type { Principal } from '../../src/access/principal.js';
import { messageId, parseMessageId } from '../../src/message/id.js';
import type { Difference } from '../../src/routing/backtest.js';
import { summaries } from '../../src/storage/messages.js';
import type { BacktestEvent } from '../rule-trials.js';
import type { PageDeps } from './deps.js';
import { count, subtitleOf, titleOf } from './words.js';

/** Which messages rules are tried on. */
export const RANGES = ['today', 'week', 'month', 'all', 'waiting'] as const;
export type BacktestRange = (typeof RANGES)[number];

const DAY_MS = 86_400_000;

/** When the first of them came in; undefined for no bound. */
export function beginningOf(range: BacktestRange, now: number): Date | undefined {
  switch (range) {
    case 'today':
      return new Date(now - (now % DAY_MS));
    case 'week':
      return new Date(now - 7 * DAY_MS);
    case 'month':
      return new Date(now - 30 * DAY_MS);
    case 'all':
    case 'waiting':
      return undefined;
    default: {
      const never: never = range;
      throw new Error(`no such range: ${String(never)}`);
    }
  }
}

type BacktestResult = Extract<BacktestEvent, { readonly event: 'result' }>;

/** The result as the page has it: each number with messages behind it. */
export async function backtestShown(deps: PageDeps, by: Principal, result: BacktestResult): Promise<object> {
  const { targets, waiting, closed } = result;
  const deltas = [...targets, waiting, closed];
  const named = await messagesNamed(
    deps,
    by,
    deltas.flatMap(({ examples }) => [...examples.added, ...examples.removed]),
  );
  const row = (label: string, href: string | null, delta: Difference) => ({
    label,
    href,
    added: delta.added > 0 && side(delta.added, delta.examples.added, named),
    removed: delta.removed > 0 && side(delta.removed, delta.examples.removed, named),
  });
  const rows = [
    ...targets.map((one) => row(one.target, `/targets/${one.target}`, one)),
    row('waiting in the inbox', null, waiting),
    row('closed', null, closed),
  ].filter(({ added, removed }) => added || removed);
  return {
    messages: count(result.messages, 'message', 'messages'),
    changed: result.changed > 0 && result.changed.toLocaleString('en'),
    gone: result.gone > 0 && count(result.gone, 'message', 'messages'),
    headline: rows.map(({ label, added, removed }) => headline(label, added, removed)).join(', '),
    rows,
    never: result.rules.filter(({ hits }) => hits === 0).map(({ rule }) => rule),
    hits: result.rules
      .filter(({ hits }) => hits > 0)
      .map(({ rule, hits }) => ({ rule, hits: hits.toLocaleString('en') })),
  };
}

type Side = ReturnType<typeof side> | false;

function headline(label: string, added: Side, removed: Side): string {
  return (
    [added && `+${added.number}`, removed && `−${removed.number}`].filter((one) => one !== false).join(' ') +
    ` ${label}`
  );
}

interface Named {
  readonly id: string;
  readonly href: string;
  readonly title: string;
  readonly subtitle: string;
}

function side(number: number, ids: readonly string[], named: ReadonlyMap<string, Named>) {
  const more = number - ids.length;
  return {
    number: number.toLocaleString('en'),
    messages: ids.map((id) => named.get(id) ?? { id, href: `/messages/${id}`, title: id, subtitle: '' }),
    more: more > 0 && more.toLocaleString('en'),
  };
}

async function messagesNamed(
  { pool }: PageDeps,
  { tenant, permissions }: Principal,
  ids: readonly string[],
): Promise<Map<string, Named>> {
  if (!permissions.has('messages.read')) return new Map();
  const places = [...new Set(ids)].map(parseMessageId).filter((place) => place !== undefined);
  const found = await summaries(pool, tenant.id, places);
  return new Map(
    found.map((one) => {
      const id = messageId(one);
      return [id, { id, href: `/messages/${id}`, title: titleOf(one), subtitle: subtitleOf(one) }];
    }),
  );
}
