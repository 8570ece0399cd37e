import { setTimeout as pause } from 'node:timers/promises';
import pg, { type Pool } from 'pg';
import type { Logger } from 'pino';
import { connectionConfig } from './connection.js';

/** What one process tells all others. Every notice may get lost: whoever waits for one also looks by himself. */
export type Notice =
  /** Messages of a channel are stored up to this sequence. */
  | readonly ['stored', tenant: number, channel: number, last: number]
  /** Messages of a channel were decided. */
  | readonly ['planned', tenant: number, channel: number, first: number, last: number]
  /** Something of a target may be fetched. */
  | readonly ['pending', tenant: number, target: number]
  /** The notice of a void number is due. */
  | readonly ['voided', tenant: number, target: number, channel: number]
  /** A person decided something. */
  | readonly ['decided']
  /** Sources, targets or rules have changed. */
  | readonly ['configured']
  /** Channels were given back. */
  | readonly ['given']
  /** A mail failed, and where its likes are tried from now on is written down. */
  | readonly ['crashed', tenant: number];

export interface Bulletin {
  post(notice: Notice): void;
  close(): Promise<void>;
}

export interface BulletinDeps {
  readonly pool: Pool;
  /** Of the database; listening takes a connection of its own. */
  readonly url: string;
  readonly process: string;
  readonly heard: (notice: Notice) => void;
  readonly log: Logger;
}

const TOPIC = 'waybill';
/** PostgreSQL takes at most 8,000 bytes a notice. */
const MOST_BYTES = 7_000;
/** Beyond so many that wait to be posted, new ones are dropped: the others look by themselves. */
const MOST_WAITING = 10_000;
const AGAIN_MS = 1_000;

/** Notices between the processes of an installation, by LISTEN and NOTIFY; one's own are not heard. */
export function openBulletin(deps: BulletinDeps): Bulletin {
  const { pool, log } = deps;
  const ended = new AbortController();
  let waiting = new Map<string, Notice>();
  let posting: Promise<void> | null = null;

  /** Whatever gathers while the last ones are on their way goes together. */
  async function postAll(): Promise<void> {
    while (waiting.size > 0) {
      const notices = [...waiting.values()];
      waiting = new Map();
      const payloads = packed(deps.process, notices);
      await pool.query('select pg_notify($1, p) from unnest($2::text[]) as p', [TOPIC, payloads]);
    }
  }

  function post(notice: Notice): void {
    const key = keyOf(notice);
    if (ended.signal.aborted || (waiting.size >= MOST_WAITING && !waiting.has(key))) return;
    waiting.set(key, notice);
    posting ??= postAll()
      .catch((error: unknown) => log.debug({ err: error }, 'other processes were not told; they look by themselves'))
      .finally(() => {
        posting = null;
      });
  }

  async function listen(): Promise<void> {
    const client = new pg.Client(connectionConfig({ url: deps.url, applicationName: 'waybill notices' }));
    const lost = new Promise<void>((resolve) => {
      client.on('error', () => resolve());
      client.on('end', () => resolve());
      ended.signal.addEventListener('abort', () => resolve(), { once: true });
    });
    client.on('notification', ({ payload }) => {
      for (const notice of unpacked(deps.process, payload ?? '')) deps.heard(notice);
    });
    try {
      await client.connect();
      await client.query(`listen ${TOPIC}`);
      await lost;
    } finally {
      await client.end().catch(() => undefined);
    }
  }

  const listening = (async () => {
    while (!ended.signal.aborted) {
      await listen().catch((error: unknown) => log.debug({ err: error }, 'not listening to other processes'));
      await pause(AGAIN_MS, undefined, { signal: ended.signal }).catch(() => undefined);
    }
  })();

  return {
    post,
    async close() {
      ended.abort();
      await posting;
      await listening;
    },
  };
}

/** The newest of a kind about the same thing says what older ones said; what was planned is told piece by piece. */
function keyOf(notice: Notice): string {
  return (notice[0] === 'stored' ? notice.slice(0, 3) : notice).join('/');
}

function packed(process: string, notices: readonly Notice[]): string[] {
  const payloads: string[] = [];
  let gathered: Notice[] = [];
  let bytes = 0;
  for (const notice of notices) {
    const size = JSON.stringify(notice).length + 1;
    if (bytes + size > MOST_BYTES) {
      payloads.push(JSON.stringify([process, ...gathered]));
      gathered = [];
      bytes = 0;
    }
    gathered.push(notice);
    bytes += size;
  }
  payloads.push(JSON.stringify([process, ...gathered]));
  return payloads;
}

/** Others may use the database too, and the topic: what is no list of ours is nothing. */
function unpacked(process: string, payload: string): Notice[] {
  try {
    const parsed: unknown = JSON.parse(payload);
    if (!Array.isArray(parsed) || parsed[0] === process) return [];
    return parsed.slice(1).filter(isNotice);
  } catch {
    return [];
  }
}

/** How many numbers follow each kind. */
const NUMBERS: Readonly<Record<Notice[0], number>> = {
  stored: 3,
  planned: 4,
  pending: 2,
  voided: 3,
  decided: 0,
  configured: 0,
  given: 0,
  crashed: 1,
};

function isNotice(value: unknown): value is Notice {
  if (!Array.isArray(value) || typeof value[0] !== 'string' || !Object.hasOwn(NUMBERS, value[0])) return false;
  const numbers = value.slice(1);
  return numbers.length === NUMBERS[value[0] as Notice[0]] && numbers.every(Number.isSafeInteger);
}
