import type pg from 'pg';
import { SCHEMA } from '../connection.js';
import type { TableHead } from './format.js';

/**
 * What a backup goes without. The migrations write their own table; filters are built anew from the keys; processes
 * are gone, and what they said of sources with them; who was signed in signs in again, so that a backup opens no session;
 * figures over time begin anew; what the inbox counts, triggers count again while it is loaded; words are read from the
 * messages again; nobody looks.
 */
export const LEFT_OUT: ReadonlySet<string> = new Set([
  'migration',
  'filter',
  'filter_piece',
  'process',
  'source_health',
  'session',
  'sign_in',
  'sample',
  'sample_lag',
  'inbox_count',
  'search_words',
  'search_cursor',
  'search_late',
  'presence',
]);

/** Tables that are backed up, partitioned ones as a whole: those that others refer to before those that refer. */
export async function tablesToKeep(client: pg.Client): Promise<string[]> {
  const { rows } = await client.query<{ name: string; refers_to: string[] }>(
    `select c.relname as name, array(select f.relname::text from pg_constraint k join pg_class f on f.oid = k.confrelid
       where k.conrelid = c.oid and k.contype = 'f' and k.confrelid <> c.oid) as refers_to
     from pg_class c where c.relnamespace = to_regnamespace($1) and c.relkind in ('r', 'p') and not c.relispartition
     order by c.relname`,
    [SCHEMA],
  );
  const kept = rows.filter(({ name }) => !LEFT_OUT.has(name));
  return referredFirst(new Map(kept.map((row) => [row.name, row.refers_to])));
}

function referredFirst(refersTo: ReadonlyMap<string, readonly string[]>): string[] {
  const ordered = new Set<string>();
  const visit = (table: string, path: readonly string[]) => {
    if (path.includes(table)) throw new Error(`tables refer to each other in a circle: ${path.join(', ')}`);
    for (const other of refersTo.get(table) ?? []) visit(other, [...path, table]);
    if (refersTo.has(table)) ordered.add(table);
  };
  for (const table of refersTo.keys()) visit(table, []);
  return [...ordered];
}

/** Columns that hold values of their own, in order. */
export async function columnsOf(client: pg.Client, table: string): Promise<TableHead> {
  const { rows } = await client.query<{ name: string }>(
    `select attname as name from pg_attribute where attrelid = to_regclass($1) and attnum > 0 and not attisdropped
       and attgenerated = '' order by attnum`,
    [qualified(table)],
  );
  return { table, columns: rows.map((row) => row.name) };
}

export interface Partition {
  readonly name: string;
  readonly generation: number;
}

/** Partitions of all tables. Each belongs to one generation, which its name ends with. */
export async function partitionsNow(client: pg.Client): Promise<Partition[]> {
  const { rows } = await client.query<{ name: string; parent: string }>(
    `select c.relname as name, p.relname as parent from pg_inherits i join pg_class c on c.oid = i.inhrelid
     join pg_class p on p.oid = i.inhparent
     where c.relnamespace = to_regnamespace($1) and c.relkind = 'r' order by c.relname`,
    [SCHEMA],
  );
  return rows.map(({ name, parent }) => {
    const generation = name.startsWith(`${parent}_`) ? Number(name.slice(parent.length + 1)) : Number.NaN;
    if (!Number.isSafeInteger(generation)) throw new Error(`${name} is no partition of one generation`);
    return { name, generation };
  });
}

export interface SequenceState {
  readonly name: string;
  readonly last: number;
  readonly called: boolean;
}

/** Counters as they are now: transactions don't hold them, so they may be ahead of the rows, which does no harm. */
export async function sequencesNow(client: pg.Client): Promise<SequenceState[]> {
  const { rows } = await client.query<{ name: string }>(
    `select relname as name from pg_class where relnamespace = to_regnamespace($1) and relkind = 'S' order by relname`,
    [SCHEMA],
  );
  const states: SequenceState[] = [];
  for (const { name } of rows) {
    const state = await client.query<{ last: string; called: boolean }>(
      `select last_value::text as last, is_called as called from ${qualified(name)}`,
    );
    for (const { last, called } of state.rows) states.push({ name, last: Number(last), called });
  }
  return states;
}

/** A name of ours with its schema, for SQL. */
export function qualified(name: string): string {
  return `${SCHEMA}.${quoted(name)}`;
}

export function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
