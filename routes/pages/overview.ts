import type { Principal } from '../../src/access/principal.js';
import { listChannels } from '../../src/storage/channels-read.js';
import { countInbox } from '../../src/storage/inbox-counts.js';
import { caller } from '../problem.js';
import type { Reply, Route } from '../route.js';
import { targetsWithHealth } from '../targets.js';
import type { PageDeps } from './deps.js';
import { countText, type Site } from './show.js';
import { healthOf } from './targets.js';

/** How it all goes: channels, and what each target has yet to get. */
export function overviewPages(deps: PageDeps, site: Site): Route[] {
  return [
    {
      method: 'get',
      path: '/overview',
      permission: 'channels.read',
      summary: 'Channels and targets at a glance',
      replies: { 200: { description: 'The page', type: 'text/html' } },
      handler: ({ principal }) => showOverview(deps, site, caller(principal)),
    },
  ];
}

async function showOverview(deps: PageDeps, site: Site, by: Principal): Promise<Reply> {
  const channels = await listChannels(deps.pool, by.tenant.id);
  const targets = by.permissions.has('targets.read') ? await targetsWithHealth(deps.pool, by) : [];
  const now = deps.now();
  const sum = (of: (one: (typeof channels)[number]) => number) =>
    channels.reduce((total, one) => total + of(one), 0).toLocaleString('en');
  return site.show({ template: 'overview', title: 'Overview', part: 'overview' }, by, {
    figures: [
      { label: 'accepted', number: sum((one) => one.lastSequence) },
      { label: 'not planned yet', number: sum((one) => one.lastSequence - one.readUpTo) },
      { label: 'waiting for a person', number: countText(await countInbox(deps.pool, by.tenant.id)) },
      { label: 'parked', number: sum((one) => one.parked) },
      { label: 'duplicates', number: sum((one) => one.duplicates) },
      { label: 'conflicts', number: sum((one) => one.conflicts) },
      { label: 'expired', number: sum((one) => one.expired) },
    ],
    targets: targets.map((target) => ({
      name: target.name,
      href: `/targets/${target.name}`,
      ...healthOf(target, now),
    })),
    channels: channels.map((one) => ({
      channel: one.channel,
      last: one.lastSequence.toLocaleString('en'),
      behind: (one.lastSequence - one.readUpTo).toLocaleString('en'),
      owner: one.owner,
      term: one.term,
      parked: one.parked,
      duplicates: one.duplicates.toLocaleString('en'),
      conflicts: one.conflicts.toLocaleString('en'),
    })),
  });
}
