import type { Principal } from '../../src/access/principal.js';
import { quarantineId } from '../../src/message/id.js';
import type { View } from '../../src/message/view.js';
import { entryPlace } from '../../src/storage/claims.js';
import { findQuarantined, quarantinedBytes } from '../../src/storage/quarantine.js';
import { asProblem, notFound } from '../problem.js';
import { attemptsOf, type EntryAttempt, type Rung, rungsOf, viewOn } from '../quarantine-views.js';
import type { Problem, Reply } from '../route.js';
import { aroundItem } from './claim.js';
import type { PageDeps } from './deps.js';
import { shownDiff } from './diff.js';
import { address } from './form.js';
import { showJson } from './json.js';
import { summaryOf } from './quarantine-words.js';
import type { Site } from './show.js';
import { defectLine, LISTED, partLine, setAsideLine, TEXT_SHOWN, viewLines } from './view-lines.js';
import { addresses, type Badge, size, when } from './words.js';

/** Of the bytes as much as anybody reads on a page. */
const PREVIEW = 16 * 1024;

/** The page of one entry; with a rung, what that makes of it. */
export async function showEntry(
  deps: PageDeps,
  site: Site,
  by: Principal,
  number: number,
  { rung: chosen, back }: { readonly rung?: number | undefined; readonly back?: string | undefined },
  failed: Problem | null,
): Promise<Reply> {
  const entry = await findQuarantined(deps.pool, by.tenant.id, number);
  const bytes = await quarantinedBytes(deps.pool, by.tenant.id, number);
  if (!entry || !bytes) throw notFound('entry of the quarantine');
  const held = entry.state === 'held' && by.permissions.has('quarantine.decide');
  const id = quarantineId(number);
  const rungs = rungsOf(deps, entry.kind);
  const rung = rungs.find((one) => one.number === chosen);
  const attempts = await attemptsOf(deps, by, number);
  const page = { template: 'quarantined', title: id, part: 'quarantine', status: failed?.status ?? 200 } as const;
  return site.show(page, by, {
    ...summaryOf(entry, deps.now()),
    back: back ?? '/quarantine',
    backLabel: back?.startsWith('/inbox') ? 'Inbox' : 'Quarantine',
    actionQuery: address('', { back }),
    ofHref: entry.of && `/messages/${entry.of}`,
    poison: entry.cause === 'poison',
    crash: entry.crash && { short: entry.crash.slice(0, 12), href: `/quarantine?crash=${entry.crash}` },
    held,
    ...(await aroundItem(deps, by, entryPlace(number), { back, mayClaim: held })),
    mayRelease: held,
    mayRequeue: held && entry.cause === 'poison',
    mayDiscard: held,
    failed: failed?.detail,
    rungs: rungs.map((one) => ({
      ...one,
      href: `${address(`/quarantine/${id}`, { rung: String(one.number), back })}#rung`,
      current: one === rung,
    })),
    chosen: !bytes.erased && rung && (await rungShown(deps, by, number, rung, rungs[rung.number - 1])),
    attempts: attempts.map((one) => attemptRow(one, deps.now())),
    preview: bytes.erased ? 'Its account was erased.' : bytes.raw.toString('utf8', 0, PREVIEW),
    cut: bytes.raw.length > PREVIEW && size(PREVIEW),
    erased: bytes.erased,
    rawHref: !bytes.erased && `/v1/quarantine/${id}/raw`,
  });
}

type Shown = { readonly view: View } | { readonly problem: string };

/** A rung beside the one above it; that it can't be read there is a thing to show, too. */
async function rungShown(deps: PageDeps, by: Principal, number: number, rung: Rung, above: Rung | undefined) {
  const shown = await viewShown(deps, by, number, rung);
  const before = above && (await viewShown(deps, by, number, above));
  return {
    ...rung,
    above,
    ...('view' in shown ? { view: viewFields(shown.view) } : { problem: shown.problem }),
    ...(before && 'problem' in before && { aboveProblem: before.problem }),
    ...(before && 'view' in before && 'view' in shown && shownDiff(viewLines(before.view), viewLines(shown.view))),
  };
}

async function viewShown(deps: PageDeps, by: Principal, number: number, rung: Rung): Promise<Shown> {
  try {
    const { result } = await viewOn(deps, by, number, rung.number);
    if (result.ok) return { view: result.view };
    const at = result.leaf === null ? result.stage : `${result.stage} of part ${result.leaf}`;
    return { problem: `It can’t be read there: ${result.failure} at ${at}: ${result.reason}` };
  } catch (error) {
    const problem = asProblem(error);
    if (problem.status !== 429 && problem.status !== 503) throw error;
    return { problem: problem.detail };
  }
}

function viewFields(view: View) {
  const fields = [
    ['Subject', view.subject],
    ['From', addresses(view.from)],
    ['To', addresses(view.to)],
    ['Cc', addresses(view.cc)],
    ['Date', view.date],
  ] as const;
  const beginning = (text: string | null) => text?.slice(0, TEXT_SHOWN).toWellFormed();
  return {
    fields: fields.filter(([, value]) => value !== null && value !== '').map(([name, value]) => ({ name, value })),
    text: beginning(view.text),
    html: beginning(view.html),
    data: view.data !== undefined && showJson(view.data),
    parts: view.parts.slice(0, LISTED).map(partLine),
    setAside: view.setAside.slice(0, LISTED).map(setAsideLine),
    defects: view.defects.slice(0, LISTED).map(defectLine),
    unread: view.unread.join(', '),
  };
}

const OUTCOMES: Readonly<Record<NonNullable<EntryAttempt['outcome']>, Badge>> = {
  processed: { label: 'read', tone: 'ok' },
  failed: { label: 'failed', tone: 'bad' },
  interrupted: { label: 'interrupted', tone: 'wait' },
  not_tried: { label: 'not tried', tone: 'plain' },
};
const UNDER_WAY: Badge = { label: 'under way', tone: 'wait' };

function attemptRow(one: EntryAttempt, now: number) {
  return {
    rung: `${one.rung} ${one.name}`,
    stage: one.stage,
    try: one.try,
    blamed: one.blamed.join(', '),
    started: when(one.started, now),
    badge: one.outcome === null ? UNDER_WAY : OUTCOMES[one.outcome],
    reason: one.reason,
    by: one.child === null ? one.process.slice(0, 8) : `${one.process.slice(0, 8)}, child ${one.child}`,
  };
}
