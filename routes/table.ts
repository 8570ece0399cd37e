import type { Pool } from 'pg';
import type { Principal } from '../src/access/principal.js';
import { writeAudit } from '../src/storage/audit.js';
import { type AccountDeps, accountRoutes } from './accounts.js';
import { type BackfillDeps, backfillRoutes } from './backfills.js';
import { billingRoutes } from './billing.js';
import { channelRoutes } from './channels.js';
import { type DecisionDeps, decisionRoutes } from './decisions.js';
import { deliveryRoutes } from './deliveries.js';
import { type HealthDeps, healthRoutes } from './health.js';
import { type HeldDeps, heldRoutes } from './held.js';
import { type InboxDeps, inboxRoutes } from './inbox.js';
import { learningRoutes } from './learning.js';
import { ledgerViewRoutes } from './ledger-views.js';
import { type MessageDeps, messageRoutes } from './messages.js';
import { openapiRoute } from './openapi.js';
import { type OverviewDeps, overviewRoutes } from './overview.js';
import { type PeopleDeps, peopleRoutes } from './people.js';
import { type QuarantineDeps, quarantineRoutes } from './quarantine.js';
import { refusalRoutes } from './refusals.js';
import type { Route } from './route.js';
import { type RuleTrialDeps, ruleTrialRoutes } from './rule-trials.js';
import { ruleRoutes } from './rules.js';
import { waitingRuleRoutes } from './rules-waiting.js';
import { type SessionDeps, sessionRoutes } from './session.js';
import { type ConfigurationDeps, sourceRoutes } from './sources.js';
import { type StreamDeps, streamRoutes } from './stream.js';
import { targetRoutes } from './targets.js';
import { tenantRoutes } from './tenants.js';
import { threadRoutes } from './threads.js';
import { type TokenDeps, tokenRoutes } from './tokens.js';
import { type UsageDeps, usageRoutes } from './usage.js';
import { type VerifyDeps, verifyRoutes } from './verify.js';

/** What the calls of the table need from the rest of the program. */
export type ApiDeps = MessageDeps &
  DecisionDeps &
  InboxDeps &
  ConfigurationDeps &
  OverviewDeps &
  QuarantineDeps &
  PeopleDeps &
  TokenDeps &
  SessionDeps &
  HealthDeps &
  VerifyDeps &
  RuleTrialDeps &
  AccountDeps &
  UsageDeps &
  BackfillDeps &
  HeldDeps &
  StreamDeps & { readonly version: string };

/**
 * Everything that can be called. `ingress` is what takes messages and hands them out (events, hooks, pull), `pages` what
 * browsers see; both are described in /openapi.json as far as they are under /v1.
 */
export function allRoutes(deps: ApiDeps, ingress: readonly Route[], pages: readonly Route[]): Route[] {
  const routes = [
    ...ingress,
    ...messageRoutes(deps),
    ...learningRoutes(deps),
    ...threadRoutes(deps),
    ...decisionRoutes(deps),
    ...inboxRoutes(deps),
    ...sourceRoutes(deps),
    ...targetRoutes(deps),
    ...deliveryRoutes(deps),
    ...waitingRuleRoutes(deps),
    ...ruleRoutes(deps),
    ...ruleTrialRoutes(deps),
    ...channelRoutes(deps),
    ...overviewRoutes(deps),
    ...verifyRoutes(deps),
    ...accountRoutes(deps),
    ...billingRoutes(deps),
    ...usageRoutes(deps),
    ...ledgerViewRoutes(deps),
    ...backfillRoutes(deps),
    ...heldRoutes(deps),
    ...quarantineRoutes(deps),
    ...refusalRoutes(deps),
    ...peopleRoutes(deps),
    ...tokenRoutes(deps),
    ...tenantRoutes(deps),
    ...streamRoutes(deps),
    ...healthRoutes(deps),
    ...sessionRoutes(deps),
    ...pages,
  ];
  return [...routes, openapiRoute(routes, deps.version)];
}

/** The same refusal of the same caller is written down once in this time. */
const NOTED_MS = 60_000;
const REMEMBERED = 1_000;

/** Writes refusals to the audit, so that no caller can fill it by asking again and again. `failed` hears of what can't be written. */
export function auditRefusals(pool: Pool, monotonic: () => number, failed: (error: unknown) => void) {
  const noted = new Map<string, number>();
  return ({ tenant, who }: Principal, { method, path, permission }: Route): void => {
    const object = `${method.toUpperCase()} ${path}`;
    const key = `${tenant.id} ${who} ${object}`;
    const last = noted.get(key);
    if (last !== undefined && monotonic() - last < NOTED_MS) return;
    noted.delete(key);
    noted.set(key, monotonic());
    const oldest = noted.keys().next();
    if (noted.size > REMEMBERED && !oldest.done) noted.delete(oldest.value);
    writeAudit(pool, { tenant: tenant.id, who, action: 'refused', object, detail: { permission } }).catch(failed);
  };
}
