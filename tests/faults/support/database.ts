import pg from 'pg';
import { onTestFinished } from 'vitest';
import { until } from '../../support/until.js';
import type { Post } from './post.js';

/* What a test does in the database behind the program's back. */

export async function inDatabase<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url, options: '-c search_path=waybill,public' });
  client.on('error', () => undefined);
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/** The processes that own channels at present, by their process ids, those that own most first. */
export function ownersAmong(url: string): Promise<number[]> {
  return inDatabase(url, async (client) => {
    const { rows } = await client.query<{ name: string }>(
      `select p.name from lease l join process p on p.id = l.holder group by p.name order by count(*) desc, p.name`,
    );
    // `<host>:<process id>`
    return rows.map(({ name }) => Number(name.slice(name.lastIndexOf(':') + 1)));
  });
}

/** The post whose process owns most channels at present. */
export function ownerAmong(url: string, posts: readonly Post[]): Promise<Post> {
  return until(async () => {
    const [most] = await ownersAmong(url);
    return posts.find((post) => post.isUp && post.waybill.pid === most);
  }, 'one of the processes to own channels');
}

/** The current generation is old enough for the next one. */
export async function ageGeneration(url: string): Promise<void> {
  await inDatabase(url, (client) =>
    client.query(`update generation set opened_at = opened_at - interval '8 days' where sealed_at is null`),
  );
}

/** Commits of transactions that wrote to a table wait in the middle of committing, all triggers done, until `open`. */
export interface CommitGate {
  /** From now on they wait. */
  shut(): Promise<void>;
  open(): Promise<void>;
  /** Ids of the transactions that wait there. */
  waiting(): Promise<string[]>;
  /** What became of a transaction. */
  outcomeOf(transaction: string): Promise<'in progress' | 'committed' | 'aborted'>;
}

/** Any number that no lock of the program has. */
const GATE = 771_003;

/** A deferred constraint trigger, in the database of a test alone: it takes a lock that the test holds while it is shut. */
export async function commitGate(url: string, table: string): Promise<CommitGate> {
  const client = new pg.Client({ connectionString: url, options: '-c search_path=waybill,public' });
  client.on('error', () => undefined);
  await client.connect();
  onTestFinished(() => client.end());
  await client.query(
    `create or replace function gate() returns trigger language plpgsql as $$
     begin perform pg_advisory_xact_lock_shared(${GATE}); return null; end $$`,
  );
  await client.query(
    `create constraint trigger zz_gate after insert on ${table} deferrable initially deferred
     for each row execute function waybill.gate()`,
  );
  return {
    async shut() {
      await client.query(`select pg_advisory_lock(${GATE})`);
    },
    async open() {
      await client.query('select pg_advisory_unlock_all()');
    },
    async waiting() {
      const { rows } = await client.query<{ xid: string }>(
        `select a.backend_xid::text as xid from pg_locks l join pg_stat_activity a on a.pid = l.pid
         where l.locktype = 'advisory' and l.objid = ${GATE} and not l.granted and a.datname = current_database()`,
      );
      return rows.map(({ xid }) => xid);
    },
    async outcomeOf(transaction) {
      const { rows } = await client.query('select txid_status($1::bigint) as status', [transaction]);
      return rows[0].status;
    },
  };
}
