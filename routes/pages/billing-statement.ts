import { z } from 'zod';
import type { Principal } from '../../src/access/principal.js';
import type { Line, OpenGap, Range, Statement } from '../../src/billing/statement.js';
import { messageId } from '../../src/message/id.js';
import { text } from '../fields.js';
import { asProblem, caller } from '../problem.js';
import type { ApiRequest, Reply, Route } from '../route.js';
import { statementCsv } from '../statement-csv.js';
import { closeNamed, oneStatement } from '../usage.js';
import {
  accountPath,
  backTo,
  dimensionText,
  GAP_WORDS,
  grouped,
  localTime,
  mayCorrect,
  quantityText,
} from './billing-words.js';
import type { PageDeps } from './deps.js';
import { address, given, readForm } from './form.js';
import { visible } from './isolated.js';
import { type Site, seeOther } from './show.js';
import { count } from './words.js';

/** Ranges of a line that stand on the page at once. */
const RANGES_SHOWN = 6;

const statementParams = z.object({
  account: text(512),
  period: z.string().regex(/^\d{4}-\d\d(-\d\d)?$/),
});
type OfStatement = z.output<typeof statementParams>;
const statementQuery = z.object({ done: given(z.literal('close')) });
const closeForm = z.object({ incomplete: given(z.literal('1')) });

/** One statement: what each line costs and what it rests on. Made to be printed, too. */
export function statementPages(deps: PageDeps, site: Site): Route[] {
  const path = '/billing/accounts/:account/statements/:period';
  return [
    {
      method: 'get',
      path,
      permission: 'billing.read',
      summary: 'One statement of an account',
      params: statementParams,
      query: statementQuery,
      replies: { 200: { description: 'The page', type: 'text/html' } },
      handler: ({ principal, params, query }: ApiRequest<OfStatement, z.output<typeof statementQuery>>) =>
        showStatement(deps, site, caller(principal), params, { done: query.done !== undefined }),
    },
    {
      method: 'get',
      path: `${path}/csv`,
      permission: 'billing.read',
      summary: 'The lines of a statement as a file',
      params: statementParams,
      replies: { 200: { description: 'The lines', type: 'text/csv' } },
      handler: async ({ principal, params: { account, period } }: ApiRequest<OfStatement>) => {
        const { statement } = await oneStatement(deps.pool, caller(principal).tenant, account, period);
        return {
          status: 200,
          type: 'text/csv; charset=utf-8',
          body: statementCsv(statement as unknown as Statement),
          headers: { 'content-disposition': `attachment; filename="statement-${period}.csv"` },
        };
      },
    },
    {
      method: 'get',
      path: `${path}/close`,
      permission: 'billing.read',
      summary: 'Where a page that says why it was not made final leads when it is opened again',
      params: statementParams,
      replies: { 303: { description: 'To the statement' } },
      handler: async ({ params: { account, period } }: ApiRequest<OfStatement>) =>
        seeOther(accountPath(account, `/statements/${period}`)),
    },
    {
      method: 'post',
      path: `${path}/close`,
      permission: 'billing.correct',
      summary: 'Make a statement final',
      params: statementParams,
      body: 'form',
      replies: { 303: { description: 'Final' }, 409: { description: 'Not yet' } },
      handler: async ({ principal, params, body }: ApiRequest<OfStatement>) => {
        const by = caller(principal);
        const { account, period } = params;
        const { incomplete } = readForm(closeForm, body);
        try {
          await closeNamed(deps, by, account, period, incomplete !== undefined);
        } catch (error) {
          const { status, code, detail } = asProblem(error);
          if (status !== 409) throw error;
          const failed = code === 'incomplete' ? 'Gaps are open. Tick the box to make it final as it is.' : detail;
          return showStatement(deps, site, by, params, { failed, status });
        }
        return seeOther(address(accountPath(account, `/statements/${period}`), { done: 'close' }));
      },
    },
  ];
}

interface Said {
  readonly done?: boolean;
  readonly failed?: string;
  readonly status?: number;
}

async function showStatement(
  deps: PageDeps,
  site: Site,
  by: Principal,
  { account, period: name }: OfStatement,
  { done, failed, status = 200 }: Said,
): Promise<Reply> {
  const found = await oneStatement(deps.pool, by.tenant, account, name);
  const statement = found.statement as unknown as Statement;
  const { period, currency, lines, total, through, complete, gaps } = statement;
  const final = found.state === 'final';
  const ended = Date.parse(period.to) <= deps.now();
  const title = visible(`Statement ${name} of ${account}`);
  const here = accountPath(account, `/statements/${name}`);
  return site.show({ template: 'billing-statement', title, part: 'billing', status }, by, {
    account: visible(account),
    accountHref: accountPath(account),
    tenantName: by.tenant.name,
    name,
    from: localTime(Date.parse(period.from), period.zone),
    to: localTime(Date.parse(period.to), period.zone),
    zone: period.zone,
    badge: final ? { label: 'final', tone: 'ok' } : { label: 'draft', tone: 'wait' },
    final,
    madeAt: found.madeAt?.slice(0, 19).replace('T', ' '),
    madeBy: found.madeBy,
    hash: found.hash,
    sent: found.sent !== null && { id: found.sent, href: `/messages/${found.sent}` },
    complete,
    gaps: gaps.map(gapShown),
    currency,
    unpriced: lines.some(({ kind }) => kind === 'unpriced'),
    noPrices: currency === null,
    lines: lines.filter(({ kind }) => kind !== 'adjustment').map((line) => lineShown(line, statement, backTo(here))),
    adjustments: lines
      .filter(({ kind }) => kind === 'adjustment')
      .map((line) => lineShown(line, statement, backTo(here))),
    total: grouped(total),
    rounding: `${statement.rounding.digits} places, ${statement.rounding.mode.replace('_', ' ')}`,
    terms: statement.terms.flatMap(({ from, to, terms }) =>
      terms === null
        ? []
        : [
            {
              card: terms.rateCard,
              href: address('/billing/rate-cards', { edit: terms.rateCard }),
              version: terms.version,
              subscription: terms.subscription,
              from: localTime(Date.parse(from), period.zone),
              to: localTime(Date.parse(to), period.zone),
            },
          ],
    ),
    through: { id: messageId(through), channel: through.channel, sequence: grouped(String(through.sequence)) },
    json: `/v1/accounts/${encodeURIComponent(account)}/statements/${name}`,
    csv: `${here}/csv`,
    close: !final && ended && currency !== null && mayCorrect(by) && { href: `${here}/close`, ask: !complete },
    running: !final && !ended,
    failed,
    done: done && { did: 'Final. It never changes from now on.' },
  });
}

function gapShown(gap: OpenGap) {
  const id = messageId(gap);
  return { id, href: `/messages/${id}`, why: GAP_WORDS[gap.reason] ?? gap.reason };
}

function lineShown(line: Line, { account, period, currency }: Statement, back: string | undefined) {
  const { kind, what, unit, dimensions, from, to, quantity, events, model, free, steps, amount, ranges } = line;
  const shown = ranges.slice(0, RANGES_SHOWN).map((range) => rangeShown(range, line, account, back));
  const rest = ranges.slice(RANGES_SHOWN).map((range) => rangeShown(range, line, account, back));
  const whole = from === period.from && to === period.to;
  return {
    what,
    dimensions: visible(dimensionText(dimensions)),
    of: line.period,
    span:
      !whole &&
      kind !== 'adjustment' &&
      `${localTime(Date.parse(from), period.zone)} to ${localTime(Date.parse(to), period.zone)}`,
    quantity: kind === 'flat' ? '' : quantityText(quantity, unit),
    events: events === 0 ? null : count(events, 'event', 'events'),
    model: kind === 'unpriced' ? 'no price' : model?.replace('_', ' '),
    free: free !== null && free !== '0' && quantityText(free, unit),
    steps: steps.map((step) => ({
      quantity: quantityText(step.quantity, unit),
      price: step.price,
      flat: step.flat,
      amount: grouped(step.amount),
      currency,
    })),
    amount: amount === null ? '–' : grouped(amount),
    ranges: shown,
    moreRanges: rest.length > 0 && { count: rest.length, ranges: rest },
  };
}

/** Leads to the message, or to the events of a range of them. */
function rangeShown({ channel, from: first, to: last }: Range, line: Line, account: string, back: string | undefined) {
  const id = messageId({ channel, sequence: first });
  if (first === last) return { text: id, href: address(`/messages/${id}`, { back }) };
  const where = Object.entries(line.dimensions).map(([name, value]) => `${name}=${value}`);
  const { what: meter, from, to } = line;
  return {
    text: `${id} … ${last}`,
    href: address(accountPath(account, '/events'), {
      meter,
      where,
      from,
      to,
      first: String(first),
      last: String(last),
      back,
    }),
  };
}
