import type { Pool } from 'pg';
import type { Place } from '../message/id.js';
import type { StoredMessage } from '../message/message.js';
import { EMPTY_VIEW, type View } from '../message/view.js';
import { TEXT_LOOKED_AT } from '../routing/learning/features.js';
import type { Learning } from '../routing/learning/learn.js';
import type { Said } from '../routing/learning/lesson.js';
import type { TargetMeasure } from '../routing/learning/measure.js';
import { type Model, type OpenModel, openModel } from '../routing/learning/model.js';
import { arrayOf } from './array.js';
import { MESSAGE_COLUMNS, type MessageRow, storedMessage } from './owner.js';

/** The newest messages that people decided about: as many are learnt from. */
const MOST_MESSAGES = 10_000;
/** Their newest decisions. */
const MOST_DECISIONS = 30_000;
/** Larger events and webhooks are not learnt from: a page of them is in memory at a time. Of mail only the view is read. */
const MOST_RAW_BYTES = 256 * 1024;
/** Fresh decisions are counted so far. */
const MOST_COUNTED = 2_000;

/** Decisions that something is learnt from. */
export const TEACHING = `action in ('assign', 'unassign', 'close', 'reopen')`;

/** A tenant about whose messages people decided since it was last learnt from, or ever. */
export interface Fresh {
  readonly tenant: number;
  /** Decisions since then. */
  readonly fresh: number;
  /** Messages it was learnt from then; null for never. */
  readonly decisions: number | null;
  /** That was more than an hour ago. */
  readonly isOld: boolean;
}

export async function freshDecisions(pool: Pool): Promise<Fresh[]> {
  const { rows } = await pool.query<Fresh>(
    `select t.id as tenant, c.fresh, m.decisions, coalesce(m.made_at < now() - interval '1 hour', true) as "isOld"
       from tenant t
       left join lateral (select decisions, made_at, through from learning_model where tenant = t.id
         order by version desc limit 1) m on true
       cross join lateral (select count(*) as fresh from (
         select from decision where tenant = t.id and ${TEACHING} and hold_until > coalesce(m.through, '-infinity')
           and hold_until <= now() limit ${MOST_COUNTED}) d) c
      where c.fresh > 0 order by t.id`,
  );
  return rows;
}

/** The time by the database's clock: what is decided later is not learnt from yet. */
export async function learningBegins(pool: Pool): Promise<Date> {
  const { rows } = await pool.query<{ now: Date }>('select now()');
  return rows[0]?.now ?? new Date(0);
}

/** A message that people decided about, and when that was last over. */
export interface DecidedPlace extends Place {
  readonly at: Date;
}

/** The newest first, so that what is new to the vocabulary comes from those. */
export async function decidedPlaces(pool: Pool, tenant: number, through: Date): Promise<DecidedPlace[]> {
  const { rows } = await pool.query<DecidedPlace>(
    `select channel, sequence, max(hold_until) as at from (
       select channel, sequence, hold_until from decision
        where tenant = $1 and ${TEACHING} and hold_until <= $2 order by hold_until desc limit ${MOST_DECISIONS}) d
      group by channel, sequence order by at desc, channel, sequence limit ${MOST_MESSAGES}`,
    [tenant, through],
  );
  return rows;
}

/** What there is to learn from one message. */
export interface DecidedMessage {
  readonly message: StoredMessage;
  /** Of a mail, as far as it is looked at; null for what is read where it lies, which `message.raw` is for. */
  readonly view: View | null;
  readonly source: string;
  readonly decisions: readonly Said[];
  /** Ids of targets that it had by rules or by suggestion. */
  readonly had: readonly number[];
}

interface DecidedRow extends MessageRow {
  source_name: string;
  view: Partial<View> | null;
  decisions: Said[];
  had: number[];
}

/** Messages by their places, in that order; without those whose content is gone, was erased or was never read. */
export async function decidedMessages(
  pool: Pool,
  tenant: number,
  places: readonly Place[],
  through: Date,
): Promise<DecidedMessage[]> {
  const { rows } = await pool.query<DecidedRow>(
    `select ${MESSAGE_COLUMNS}, s.name as source_name,
        case when v.body is not null then json_build_object('subject', v.body -> 'subject',
          'from', coalesce(v.body -> 'from', '[]'), 'text', left(v.body ->> 'text', ${TEXT_LOOKED_AT}),
          'defects', coalesce(v.body -> 'defects', '[]'), 'parts', coalesce(v.body -> 'parts', '[]'),
          'data', v.body -> 'data') end as view,
        (select json_agg(json_build_object('action', d.action, 'targets', d.targets) order by d.version) from decision d
          where d.tenant = $1 and d.channel = m.channel and d.sequence = m.sequence and d.hold_until <= $4) as decisions,
        array(select distinct (t ->> 0)::int from (
            (select p.runs, p.last_sequence from plan p where p.tenant = $1 and p.channel = m.channel
               and p.kind = 'stream' and p.first_sequence <= m.sequence order by p.first_sequence desc limit 1)
            union all
            (select p.runs, p.last_sequence from plan p where p.tenant = $1 and p.channel = m.channel
               and p.kind = 'extra' and p.first_sequence <= m.sequence and p.last_sequence >= m.sequence)) p
          cross join json_array_elements(p.runs) r cross join json_array_elements(r -> 't') t
          where p.last_sequence >= m.sequence and (r ->> 's')::bigint <= m.sequence
            and (r ->> 's')::bigint + (r ->> 'n')::bigint > m.sequence and r -> 'd' ->> 'by' <> 'person') as had
       from unnest($2::smallint[], $3::bigint[]) with ordinality as w(channel, sequence, ord)
       cross join lateral (
         select generation, tenant, channel, sequence, source, kind, account, type, external_id, value, event_time,
           arrived_at, peer, meta, sha256, erased_at, case when kind = 'mail' then '' else raw end as raw
         from message where generation = generation_of($1, w.channel, w.sequence) and tenant = $1
           and channel = w.channel and sequence = w.sequence and erased_at is null
           and (kind = 'mail' or octet_length(raw) <= ${MOST_RAW_BYTES}) limit 1) m
       join source s on s.tenant = m.tenant and s.id = m.source
       left join view v on v.generation = m.generation and v.tenant = m.tenant and v.channel = m.channel
         and v.sequence = m.sequence
      where m.kind <> 'mail' or v.body is not null
      order by w.ord`,
    [tenant, arrayOf(places.map(({ channel }) => channel)), arrayOf(places.map(({ sequence }) => sequence)), through],
  );
  return rows.map(({ source_name, view, decisions, had, ...row }) => ({
    message: storedMessage(row),
    view: row.kind === 'mail' ? { ...EMPTY_VIEW, ...view } : null,
    source: source_name,
    decisions: decisions ?? [],
    had,
  }));
}

/**
 * Keeps what was learnt as the tenant's next version, and lets go of old ones. Answers its version. Where an account was erased
 * while it was learnt, its messages may be in it: it is learnt anew at once.
 */
export async function saveModel(
  pool: Pool,
  tenant: number,
  learnt: Learning & { readonly through: Date; readonly decisions: number },
  keep: { readonly contentMs: number },
): Promise<number> {
  const { rows } = await pool.query<{ version: number }>(
    `insert into learning_model (tenant, version, through, decisions, body, measures)
     select $1, coalesce(max(version), 0) + 1, case when exists (select from audit
         where tenant = $1 and action = 'account.erased' and at > $2::timestamptz) then '-infinity' else $2::timestamptz end,
       $3, $4, $5 from learning_model where tenant = $1 returning version`,
    [tenant, learnt.through, learnt.decisions, JSON.stringify(learnt.model), JSON.stringify(learnt.measures)],
  );
  await dropOldModels(pool, tenant, keep.contentMs);
  return rows[0]?.version ?? 0;
}

/**
 * One that decided nothing goes an hour after it was superseded: an owner that has not seen the next one yet may still
 * decide by it. One that did stays for as long as messages do. One that learnt from what was erased goes at once.
 */
async function dropOldModels(pool: Pool, tenant: number, contentMs: number): Promise<void> {
  await pool.query(
    `delete from learning_model m where m.tenant = $1
       and (select min(next.made_at) from learning_model next where next.tenant = $1 and next.version > m.version)
         < case when m.through = '-infinity' then 'infinity'::timestamptz
             else now() - case when m.used then make_interval(secs => $2) else interval '1 hour' end end`,
    [tenant, contentMs / 1000],
  );
}

/** What is known of a tenant's newest model without its body. */
export interface ModelHead {
  readonly version: number;
  readonly madeAt: Date;
  /** Messages it was learnt from. */
  readonly decisions: number;
  readonly measures: readonly TargetMeasure[];
}

export async function newestModel(pool: Pool, tenant: number): Promise<ModelHead | undefined> {
  const { rows } = await pool.query<ModelHead>(
    `select version, made_at as "madeAt", decisions, measures from learning_model where tenant = $1
      order by version desc limit 1`,
    [tenant],
  );
  return rows[0];
}

/** Opened models of each database, by tenant and version: a page asks for one with each message. */
const opened = new WeakMap<Pool, Map<string, OpenModel>>();
const MOST_OPENED = 20;

/** A version that was kept; undefined where it is gone. */
export async function modelOf(pool: Pool, tenant: number, version: number): Promise<OpenModel | undefined> {
  const known = opened.get(pool) ?? new Map<string, OpenModel>();
  opened.set(pool, known);
  const key = `${tenant}/${version}`;
  const found = known.get(key) ?? (await readModel(pool, tenant, version));
  if (!found) return undefined;
  // The one that was asked for last goes last.
  known.delete(key);
  known.set(key, found);
  const [oldest] = known.keys();
  if (known.size > MOST_OPENED && oldest !== undefined) known.delete(oldest);
  return found;
}

async function readModel(pool: Pool, tenant: number, version: number): Promise<OpenModel | undefined> {
  const { rows } = await pool.query<{ body: Model }>(
    'select body from learning_model where tenant = $1 and version = $2',
    [tenant, version],
  );
  return rows[0] && openModel(rows[0].body);
}
