import { z } from 'zod';
import type { Principal } from '../../src/access/principal.js';
import { messageId } from '../../src/message/id.js';
import { listTargets } from '../../src/storage/definitions.js';
import type { MessageSummary } from '../../src/storage/messages.js';
import { MESSAGE_STATES } from '../entries.js';
import { cursorSchema, text } from '../fields.js';
import { messagePage } from '../messages.js';
import { caller } from '../problem.js';
import type { ApiRequest, Reply, Route } from '../route.js';
import type { PageDeps } from './deps.js';
import { address, given } from './form.js';
import { sourceOptions } from './inbox.js';
import { visible } from './isolated.js';
import type { Site } from './show.js';
import { count, kindLabel, messageBadge, subtitleOf, titleOf, when } from './words.js';

const PAGE = 50;

/** A day as a browser's date field gives it. */
const day = z.iso.date();

const listQuery = z.object({
  state: given(z.enum(MESSAGE_STATES)),
  source: given(text(63)),
  target: given(text(63)),
  account: given(text(512)),
  type: given(text(512)),
  q: given(text(200)),
  from: given(day),
  to: given(day),
  cursor: given(cursorSchema),
});
type ListQuery = z.infer<typeof listQuery>;

/** Every message there is, narrowed as somebody likes. */
export function messageListPages(deps: PageDeps, site: Site): Route[] {
  return [
    {
      method: 'get',
      path: '/messages',
      permission: 'messages.read',
      summary: 'All messages',
      query: listQuery,
      replies: { 200: { description: 'The page', type: 'text/html' } },
      handler: ({ principal, query }: ApiRequest<unknown, ListQuery>) => showList(deps, site, caller(principal), query),
    },
  ];
}

const DAY_MS = 86_400_000;

async function showList(deps: PageDeps, site: Site, by: Principal, query: ListQuery): Promise<Reply> {
  const { from, to, cursor, ...same } = query;
  const { messages, next } = await messagePage(deps, by, {
    ...same,
    cursor,
    limit: PAGE,
    after: from === undefined ? undefined : new Date(from),
    // The last day is one of those asked for.
    before: to === undefined ? undefined : new Date(Date.parse(to) + DAY_MS),
  });
  const now = deps.now();
  const filters = { ...same, from, to };
  const here = address('/messages', filters);
  return site.show({ template: 'messages', title: 'Messages', part: 'messages' }, by, {
    rows: messages.map((message) => row(message, here, now)),
    filters,
    narrowed: Object.values(filters).some((value) => value !== undefined),
    states: MESSAGE_STATES.map((name) => ({ name, selected: name === query.state })),
    sources: await sourceOptions(deps, by, query.source),
    targets: by.permissions.has('targets.read')
      ? (await listTargets(deps.pool, by.tenant.id)).map(({ name }) => ({ name, selected: name === query.target }))
      : [],
    newest: cursor !== undefined && here,
    older: next !== null && address('/messages', { ...filters, cursor: next }),
    nothingYet: messages.length === 0 && next !== null,
    empty: messages.length === 0 && next === null,
  });
}

function row(message: MessageSummary, back: string, now: number) {
  const id = messageId(message);
  return {
    id,
    href: address(`/messages/${id}`, { back }),
    kind: kindLabel(message.kind),
    title: visible(titleOf(message)),
    subtitle: visible(subtitleOf(message)),
    account: visible(message.account),
    source: message.source,
    value: message.value,
    badge: messageBadge(message.state),
    defects: message.defects > 0 && count(message.defects, 'defect', 'defects'),
    received: when(message.received, now),
  };
}
