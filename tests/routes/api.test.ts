import { afterAll, beforeAll } from 'vitest';
import { type Api, startApi } from './harness.js';
import { access } from './sections/access.js';
import { backfills } from './sections/backfills.js';
import { backtests } from './sections/backtests.js';
import { badUsage } from './sections/bad-usage.js';
import { billing } from './sections/billing.js';
import { books } from './sections/books.js';
import { configuration } from './sections/configuration.js';
import { decisions } from './sections/decisions.js';
import { deliveries } from './sections/deliveries.js';
import { inbox } from './sections/inbox.js';
import { learning } from './sections/learning.js';
import { ledgerViews } from './sections/ledger-views.js';
import { live } from './sections/live.js';
import { messages } from './sections/messages.js';
import { overview } from './sections/overview.js';
import { quarantine } from './sections/quarantine.js';
import { rulesWaiting } from './sections/rules-waiting.js';
import { holdToTable, table } from './sections/table.js';
import { threads } from './sections/threads.js';

/*
 * Everything under one server, so that in the end what was answered can be held against what the table of routes says:
 * run the file as a whole.
 */
let api: Api;
beforeAll(async () => {
  api = await startApi();
});
afterAll(async () => {
  await api.close();
  holdToTable(api);
});

const get = () => api;
messages(get);
decisions(get);
inbox(get);
configuration(get);
rulesWaiting(get);
backtests(get);
deliveries(get);
quarantine(get);
overview(get);
access(get);
learning(get);
live(get);
books(get);
billing(get);
ledgerViews(get);
backfills(get);
badUsage(get);
threads(get);
table(get);
