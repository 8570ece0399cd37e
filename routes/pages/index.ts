import type { Route } from '../route.js';
import { billingAccountPages } from './billing-account.js';
import { billingAccountsPages } from './billing-accounts.js';
import { backfillPages } from './billing-backfills.js';
import { correctionPages } from './billing-correct.js';
import { billingDefinitionPages } from './billing-definitions.js';
import { billingGapPages } from './billing-gaps.js';
import { statementPages } from './billing-statement.js';
import { claimPages } from './claim.js';
import { deliveryPages } from './deliveries.js';
import type { PageDeps } from './deps.js';
import { inboxPages } from './inbox.js';
import { inboxAllPages } from './inbox-all.js';
import { messagePages } from './message.js';
import { messageListPages } from './messages.js';
import { overviewPages } from './overview.js';
import { peoplePages } from './people.js';
import { quarantinePages } from './quarantine.js';
import { ruleEditorPages } from './rule-editor.js';
import { rulePages } from './rules.js';
import { waitingRulePages } from './rules-waiting.js';
import { openSite } from './show.js';
import { signInPages } from './sign-in.js';
import { targetPages } from './targets.js';
import { tokenPages } from './tokens.js';

export type { PageDeps } from './deps.js';
export { problemPage } from './problem.js';

/** Everything that browsers see, for `allRoutes`. */
export function pageRoutes(deps: PageDeps): Route[] {
  const site = openSite(deps);
  return [
    ...inboxPages(deps, site),
    ...inboxAllPages(deps, site),
    ...claimPages(deps),
    ...messageListPages(deps, site),
    ...messagePages(deps, site),
    ...ruleEditorPages(deps, site),
    ...waitingRulePages(deps, site),
    ...rulePages(deps, site),
    ...targetPages(deps, site),
    ...deliveryPages(deps, site),
    ...quarantinePages(deps, site),
    ...billingAccountsPages(deps, site),
    ...billingAccountPages(deps, site),
    ...correctionPages(deps, site),
    ...statementPages(deps, site),
    ...billingGapPages(deps, site),
    ...backfillPages(deps, site),
    ...billingDefinitionPages(deps, site),
    ...overviewPages(deps, site),
    ...peoplePages(deps, site),
    ...tokenPages(deps, site),
    ...signInPages(deps, site),
  ];
}
