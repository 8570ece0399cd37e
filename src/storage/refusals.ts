import type { Pool } from 'pg';
import type { Refusal } from '../message/refusal.js';

export interface RefusalEntry {
  readonly id: number;
  readonly ingress: Refusal['ingress'];
  readonly peer: string;
  readonly envelope: Readonly<Record<string, string>>;
  readonly code: string;
  readonly why: string;
  readonly count: number;
  readonly first: Date;
  readonly last: Date;
}

export interface RefusalMark {
  /** With microseconds. */
  readonly last: string;
  readonly id: number;
}

export interface RefusalPage {
  readonly refusals: RefusalEntry[];
  readonly next: RefusalMark | null;
}

/** What was refused to a tenant, newest first; `nobodys` adds what no tenant could be told of. */
export async function listRefusals(
  pool: Pool,
  tenant: number,
  nobodys: boolean,
  limit: number,
  before: RefusalMark | null,
): Promise<RefusalPage> {
  const { rows } = await pool.query<RefusalEntry & { mark: string }>(
    `select id, ingress, peer, envelope, code, why, count, first_at as first, last_at as last,
        to_char(last_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as mark
       from refusal where (tenant = $1 or ($2 and tenant is null))
        and ($4::timestamptz is null or (last_at, id) < ($4::timestamptz, $5::bigint))
      order by last_at desc, id desc limit $3`,
    [tenant, nobodys, limit + 1, before?.last ?? null, before?.id ?? null],
  );
  const page = rows.slice(0, limit);
  const end = page[page.length - 1];
  return {
    refusals: page.map(({ mark: _, ...entry }) => entry),
    next: rows.length > limit && end ? { last: end.mark, id: end.id } : null,
  };
}
