import { z } from 'zod';
import type { Principal } from '../../src/access/principal.js';
import { type Instead, isCorrectable, readCorrection } from '../../src/billing/correction.js';
import type { MeterDefinition } from '../../src/billing/definitions.js';
import { documentOf } from '../../src/billing/event.js';
import { follow, pointerSteps, scalarText } from '../../src/content/json/pointer.js';
import { messageId, type Place } from '../../src/message/id.js';
import type { StoredMessage } from '../../src/message/message.js';
import { listBilling, MOST_DEFINED } from '../../src/storage/billing.js';
import { findMessage } from '../../src/storage/messages.js';
import { sourceNameOf } from '../../src/storage/names.js';
import type { UsageEntry } from '../../src/storage/usage-views.js';
import { messageParams, text, timeSchema } from '../fields.js';
import { usageAt } from '../ledger-views.js';
import { caller, notFound } from '../problem.js';
import { type ApiRequest, Problem, type Reply, type Route } from '../route.js';
import { correctionProblem } from '../usage.js';
import { accountPath, backTo, dimensionText, entryBadge, exactTime, quantityText } from './billing-words.js';
import type { PageDeps } from './deps.js';
import { address, given, listOf, readForm } from './form.js';
import { visible } from './isolated.js';
import { showJson } from './json.js';
import { type Site, seeOther } from './show.js';

const MOST_PLACES = 50;

const correctParams = z.object({ account: text(512) }).extend(messageParams.shape);
type OfEvent = z.output<typeof correctParams>;

const correctForm = z.object({
  action: z.enum(['void', 'amend']),
  why: given(z.string().trim().pipe(text(2_000))),
  /** Beside each other: a place, what stood there, what is to stand there. */
  place: listOf(z.string().max(256), MOST_PLACES),
  was: listOf(z.string().max(512), MOST_PLACES),
  value: listOf(z.string().max(512), MOST_PLACES),
  time: given(z.string().trim().max(40)),
  adjust: given(z.literal('1')),
});
type CorrectForm = z.infer<typeof correctForm>;

interface Failed {
  readonly form: CorrectForm;
  readonly why: string;
  /** It can be had in the next statement. */
  readonly adjust: boolean;
  readonly status: number;
}

/** Voiding or amending one event of an account. */
export function correctionPages(deps: PageDeps, site: Site): Route[] {
  const path = '/billing/accounts/:account/correct/:id';
  return [
    {
      method: 'get',
      path,
      permission: 'billing.read',
      summary: 'One event as meters see it, to be voided or amended',
      params: correctParams,
      replies: { 200: { description: 'The page', type: 'text/html' } },
      handler: ({ principal, params }: ApiRequest<OfEvent>) => showEvent(deps, site, caller(principal), params, null),
    },
    {
      method: 'post',
      path,
      permission: 'billing.correct',
      summary: 'Void an event or amend it',
      params: correctParams,
      body: 'form',
      replies: { 303: { description: 'Sequenced' }, 409: { description: 'Its period is final, or it was corrected' } },
      handler: ({ principal, params, body }: ApiRequest<OfEvent>) =>
        correct(deps, site, caller(principal), params, readForm(correctForm, body)),
    },
  ];
}

async function correct(deps: PageDeps, site: Site, by: Principal, of: OfEvent, form: CorrectForm): Promise<Reply> {
  const { account, id: target } = of;
  const again = (why: string, status = 422, adjust = false) =>
    showEvent(deps, site, by, of, { form, why, adjust, status });
  const { action, why } = form;
  if (why === undefined) return again('Say why: the reason is kept with the correction.');
  const set = changesOf(form);
  const time = timeSchema.safeParse(form.time);
  if (form.time !== undefined && !time.success) return again('The time is not one: write it as 2026-01-31T12:00:00Z.');
  const wish = action === 'void' ? { set: new Map<string, string>(), time: null } : { set, time: form.time ?? null };
  if (action === 'amend' && wish.set.size === 0 && wish.time === null)
    return again('Nothing is changed: say another value or another time.');
  const empty = [...set].find(([, value]) => value === '');
  if (action === 'amend' && empty) return again(`Say a value for ${empty[0]}; to have it not count, void the event.`);
  const { who, tenant } = by;
  const adjust = form.adjust !== undefined;
  const corrected = await deps.correct(tenant, { account, action, target, who, why, ...wish, adjust });
  if (corrected.result === 'ok')
    return seeOther(address(accountPath(account), { done: action, of: messageId(target) }));
  const { status, detail, code } = correctionProblem(messageId(target), corrected);
  if (corrected.result === 'period_final') {
    const next = `The statement of ${corrected.period} is final and stays as it is. The next statement can say the difference.`;
    return again(next, status, true);
  }
  if (code === 'event_unknown') throw new Problem(status, code, detail);
  return again(detail, status);
}

/** What is to stand where something else stood. */
function changesOf({ place, was, value }: CorrectForm): Map<string, string> {
  return new Map(
    place.flatMap((pointer, i): [string, string][] => {
      const wanted = value[i]?.trim() ?? '';
      return wanted === (was[i] ?? '') ? [] : [[pointer, wanted]];
    }),
  );
}

async function showEvent(
  deps: PageDeps,
  site: Site,
  by: Principal,
  { account, id: place }: OfEvent,
  failed: Failed | null,
): Promise<Reply> {
  const { pool } = deps;
  const { tenant } = by;
  const found = await findMessage(pool, tenant.id, place);
  const message = typeof found === 'object' ? found.message : null;
  const { entries, corrections, corrects } = await usageAt(pool, tenant, place);
  const whose = message?.account ?? entries[0]?.account;
  if (found === undefined || whose !== account) throw notFound('event of this account');
  const source = message && (await sourceNameOf(pool, tenant.id, message.source));
  const instead = message && readCorrection(message.type, message.raw)?.instead;
  const document = message && documentToAmend(message, source ?? '', instead ?? null);
  const [first] = corrections;
  const usage = message === null || isCorrectable(source ?? '', message.type);
  const id = messageId(place);
  const title = `Correct ${id}`;
  const status = failed?.status ?? 200;
  return site.show({ template: 'billing-correct', title, part: 'billing', status }, by, {
    id,
    account: visible(account),
    accountHref: accountPath(account),
    messageHref: address(`/messages/${id}`, { back: backTo(accountPath(account)) }),
    type: instead ? instead.type : message?.type,
    amends: corrects && inChannel(place, corrects.target),
    entries: entries.map((entry) => entryShown(entry)),
    json: document != null && showJson(document),
    first: first && {
      ...inChannel(place, first.sequence),
      did: first.action === 'void' ? 'Voided' : 'Amended',
      who: first.who,
      why: visible(first.why),
      further: first.action === 'amend' && accountPath(account, `/correct/${inChannel(place, first.sequence).id}`),
    },
    mayCorrect: by.permissions.has('billing.correct') && usage && !first,
    notUsage: !usage,
    gone: message === null,
    places: document == null ? [] : await placesOf(pool, by, entries, document, failed?.form),
    time: failed?.form.time,
    why: failed?.form.why,
    voiding: failed?.form.action === 'void' && failed,
    amending: failed?.form.action === 'amend' && failed,
  });
}

function inChannel({ channel }: Place, sequence: number) {
  const id = messageId({ channel, sequence });
  return { id, href: `/messages/${id}` };
}

function documentToAmend(message: StoredMessage, source: string, instead: Instead | null): unknown {
  return instead ? instead.document : documentOf({ ...message, source, meta: message.meta });
}

function entryShown({ meter, value, unit, dimensions, at, state }: UsageEntry) {
  return {
    meter,
    value: value === null ? '1 event' : quantityText(value, unit),
    dimensions: visible(dimensionText(dimensions)),
    at: exactTime(at),
    badge: entryBadge(state),
  };
}

/** The places of the event that its meters look at, with what stands there. */
async function placesOf(
  pool: PageDeps['pool'],
  by: Principal,
  entries: readonly UsageEntry[],
  document: unknown,
  form: CorrectForm | undefined,
) {
  const all = await listBilling(pool, by.tenant.id, 'meter', { after: '', limit: MOST_DEFINED.meter });
  const named = new Set(entries.map(({ meter }) => meter));
  const pointers = all
    .filter(({ name }) => named.has(name))
    .flatMap(({ definition }) => pointersOf(definition as MeterDefinition));
  return [...new Set(pointers)].slice(0, MOST_PLACES).flatMap((pointer) => {
    const was = scalarText(follow(document, pointerSteps(pointer)));
    if (was === undefined || was.length > 512) return [];
    const at = form?.place.indexOf(pointer) ?? -1;
    return [{ pointer, was, value: form?.value[at] ?? was }];
  });
}

function pointersOf({ value, dimensions }: MeterDefinition): string[] {
  return [...(value === undefined ? [] : [value]), ...Object.values(dimensions)];
}
