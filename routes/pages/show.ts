import type { Permission } from '../../src/access/permission.js';
import type { Principal } from '../../src/access/principal.js';
import { countsFor } from '../inbox.js';
import type { Reply } from '../route.js';
import type { PageDeps } from './deps.js';
import { type Fill, fingerprintOf, openTemplates } from './render.js';

/** Parts of the site, as the navigation names them. */
export type Part =
  | 'inbox'
  | 'messages'
  | 'rules'
  | 'targets'
  | 'quarantine'
  | 'billing'
  | 'overview'
  | 'people'
  | 'tokens';

export interface Page {
  readonly template: string;
  readonly title: string;
  readonly part: Part | null;
  readonly status?: number;
  /** Of /assets, beside the one that every page has. */
  readonly scripts?: readonly string[];
}

/** Shows pages: fills their templates and puts the frame around them. */
export interface Site {
  /** A page for somebody who is signed in. */
  readonly show: (page: Page, principal: Principal, content: object) => Promise<Reply>;
  /** A page for anybody. */
  readonly showPublic: (page: Omit<Page, 'part'>, content: object) => Promise<Reply>;
  /** Part of a page, for one that is there already. */
  readonly fragment: (template: string, content: object) => Promise<string>;
}

const NAVIGATION: readonly { part: Part; label: string; href: string; permission: Permission }[] = [
  { part: 'inbox', label: 'Inbox', href: '/inbox', permission: 'messages.read' },
  { part: 'messages', label: 'Messages', href: '/messages', permission: 'messages.read' },
  { part: 'rules', label: 'Rules', href: '/rules', permission: 'rules.read' },
  { part: 'targets', label: 'Targets', href: '/targets', permission: 'targets.read' },
  { part: 'quarantine', label: 'Quarantine', href: '/quarantine', permission: 'quarantine.read' },
  { part: 'billing', label: 'Billing', href: '/billing', permission: 'billing.read' },
  { part: 'overview', label: 'Overview', href: '/overview', permission: 'channels.read' },
  { part: 'people', label: 'People', href: '/people', permission: 'people.manage' },
  { part: 'tokens', label: 'Tokens', href: '/tokens', permission: 'tokens.manage' },
];

export function openSite({ pool, templates, assets }: Pick<PageDeps, 'pool' | 'templates' | 'assets'>): Site {
  const fill = openTemplates(templates);
  const version = fingerprintOf(assets);
  return {
    async show(page, principal, content) {
      const count = principal.permissions.has('messages.read') ? (await countsFor(pool, principal)).waiting : 0;
      return html(fill, page, { ...content, ...frame(page, principal, count), version });
    },
    fragment: (template, content) => fill(template, { ...content, layout: false }),
    showPublic: (page, content) => html(fill, { ...page, part: null }, { ...content, title: page.title, version }),
  };
}

function frame(page: Page, { tenant, who, csrf, permissions, kind }: Principal, count: number) {
  return {
    title: page.title,
    scripts: page.scripts,
    signedIn: true,
    isPerson: kind === 'person',
    tenant: tenant.name,
    who,
    csrf,
    inboxCount: count,
    navigation: NAVIGATION.filter((one) => permissions.has(one.permission)).map(({ part, label, href }) => ({
      label,
      href,
      current: part === page.part,
      count: part === 'inbox' && { number: countText(count), none: count === 0 },
    })),
  };
}

/** Where it is counted only so far, `most`. */
export function countText(count: number, most = Number.POSITIVE_INFINITY): string {
  return count >= most ? `${most.toLocaleString('en')}+` : count.toLocaleString('en');
}

async function html(fill: Fill, { template, status = 200 }: Page, context: object): Promise<Reply> {
  return { status, type: 'text/html; charset=utf-8', body: await fill(template, context) };
}

/** What follows a form that was carried out: another page, by GET. */
export function seeOther(location: string): Reply {
  return { status: 303, headers: { location } };
}
