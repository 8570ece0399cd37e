import { z } from 'zod';
import type { Principal } from '../../src/access/principal.js';
import { listBilling } from '../../src/storage/billing.js';
import { cursorSchema, text } from '../fields.js';
import { type AccountUsage, accountPage, changeOf } from '../ledger-views.js';
import { caller } from '../problem.js';
import type { ApiRequest, Reply, Route } from '../route.js';
import { accountPath, quantityText, sections } from './billing-words.js';
import type { PageDeps } from './deps.js';
import { address, given } from './form.js';
import { visible } from './isolated.js';
import type { Site } from './show.js';

const PAGE = 20;

const listQuery = z.object({ q: given(text(512)), cursor: given(cursorSchema) });
type ListQuery = z.infer<typeof listQuery>;

/** Accounts and what they use. */
export function billingAccountsPages(deps: PageDeps, site: Site): Route[] {
  return [
    {
      method: 'get',
      path: '/billing',
      permission: 'billing.read',
      summary: 'Accounts, and what they use in the running period',
      query: listQuery,
      replies: { 200: { description: 'The page', type: 'text/html' } },
      handler: ({ principal, query }: ApiRequest<unknown, ListQuery>) =>
        showAccounts(deps, site, caller(principal), query),
    },
  ];
}

async function showAccounts(deps: PageDeps, site: Site, by: Principal, { q, cursor }: ListQuery): Promise<Reply> {
  const { accounts, next } = await accountPage(deps, by.tenant, { prefix: q ?? '', cursor, limit: PAGE });
  const empty = accounts.length === 0 && next === null;
  const meters = empty ? await listBilling(deps.pool, by.tenant.id, 'meter', { after: '', limit: 1 }) : [];
  return site.show({ template: 'billing-accounts', title: 'Billing', part: 'billing' }, by, {
    sections: sections('accounts'),
    q,
    accounts: accounts.map(accountRow),
    first: cursor !== undefined && address('/billing', { q }),
    next: next !== null && address('/billing', { q, cursor: next }),
    short: accounts.length === 0 && next !== null,
    empty,
    noMeter: meters.length === 0,
    mayWrite: by.permissions.has('billing.write'),
  });
}

function accountRow({ account, period, usage, moreMeters, complete }: AccountUsage) {
  return {
    account: visible(account),
    href: accountPath(account),
    period: period.name,
    usage: usage.map(usageShown),
    moreMeters: moreMeters > 0 && moreMeters,
    incomplete: !complete,
  };
}

/** A meter's usage of the running period. */
export function usageShown({ meter, unit, quantity, events, before }: AccountUsage['usage'][number]) {
  return {
    meter,
    quantity: quantityText(quantity, unit),
    none: events === 0,
    before: quantityText(before, unit),
    change: changeOf(quantity, before),
  };
}
