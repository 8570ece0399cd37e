import type { RungInfo, RungView, RungViews } from '../../routes/quarantine-views.js';
import { type Content, ContentClosed, type Failure } from '../content/content.js';
import { EVENT_LADDER, eventView } from '../content/event.js';
import { type Ladder, RUNGS } from '../content/index.js';
import { levelOf } from '../content/ladder.js';
import type { SchemaCheck } from '../content/schema.js';

type EventRung = Exclude<(typeof EVENT_LADDER)[number], 'poison'>;

const EVENT_MEANS: Readonly<Record<EventRung, string>> = {
  full: 'everything is there',
  schema: 'fields that are not what the source’s schema says are left out',
  envelope: 'what was said about it',
  opaque: 'that it is there',
};

const SCHEMA = EVENT_LADDER.indexOf('schema');

/** The ladders without their last rung, on which nothing is read, and views made on demand: one at a time of each tenant. */
export function createRungViews(
  content: Pick<Content, 'parse'>,
  ladder: Ladder,
  schemaOf: (tenant: number, source: number) => SchemaCheck | null,
): RungViews {
  const mail: readonly RungInfo[] = ladder.slice(0, -1).map((name) => ({ name, means: RUNGS[name].means }));
  const events: readonly RungInfo[] = EVENT_LADDER.filter((name) => name !== 'poison').map((name) => ({
    name,
    means: EVENT_MEANS[name],
  }));
  const underWay = new Set<number>();

  async function tried(tenant: number, entry: Parameters<RungViews['view']>[1], rung: number): Promise<RungView> {
    const { kind, raw, source } = entry;
    if (kind !== 'mail') {
      const schema = rung < SCHEMA ? null : schemaOf(tenant, source);
      return { ok: true, view: eventView(entry, undefined, rung, schema) };
    }
    try {
      const level = levelOf(ladder, { rung, blamed: [] });
      return await content.parse({ raw, rung, level, suspect: true });
    } catch (error) {
      if (error instanceof ContentClosed) return CLOSED;
      throw error;
    }
  }

  return {
    of: (kind) => (kind === 'mail' ? mail : events),
    async view(tenant, entry, rung) {
      if (underWay.has(tenant)) return 'busy';
      underWay.add(tenant);
      try {
        return await tried(tenant, entry, rung);
      } finally {
        underWay.delete(tenant);
      }
    },
  };
}

const CLOSED: Failure = {
  ok: false,
  failure: 'unavailable',
  stage: 'queued',
  leaf: null,
  child: null,
  reason: 'Waybill is shutting down',
};
