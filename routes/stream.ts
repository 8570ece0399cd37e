import { randomUUID } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { isDeepStrictEqual } from 'node:util';
import type { Pool } from 'pg';
import { z } from 'zod';
import type { Principal } from '../src/access/principal.js';
import { Room } from '../src/channel/room.js';
import { messageId, type Place } from '../src/message/id.js';
import type { Tenant } from '../src/message/tenant.js';
import { endPresence, entryPlace, NO_CHANNEL, notePresence, presences } from '../src/storage/claims.js';
import { inboxCounts } from '../src/storage/inbox-counts.js';
import { type ChannelEnd, channelEnds } from '../src/storage/messages.js';
import { classify } from '../src/storage/pool.js';
import { messageParams, quarantineParams } from './fields.js';
import { itemId } from './inbox.js';
import { MOST_IDS, type Notices } from './notices.js';
import { caller } from './problem.js';
import { type ApiRequest, Problem, type Route } from './route.js';

export interface StreamDeps {
  readonly pool: Pool;
  readonly notices: Notices;
  /** Fires when the process is asked to stop: every stream ends. */
  readonly stopping: AbortSignal;
  readonly settings?: Partial<StreamSettings>;
}

export interface StreamSettings {
  /** What other processes do is seen within this. */
  readonly pollMs: number;
  /** Proxies cut off what is silent for long. */
  readonly heartbeatMs: number;
  /** Whether a caller may still listen is asked again this often. */
  readonly recheckMs: number;
  /** Who has a message open says so again this often. */
  readonly presentMs: number;
  /** Of all tenants, which share them; and of one person or token. */
  readonly maxClients: number;
  readonly maxClientsEach: number;
}

const DEFAULTS: StreamSettings = {
  pollMs: 1_000,
  heartbeatMs: 15_000,
  recheckMs: 5_000,
  presentMs: 10_000,
  maxClients: 500,
  maxClientsEach: 20,
};

/** A client that reads this slowly is let go: it comes back by itself and looks anew. */
const MOST_UNSENT_BYTES = 64 * 1024;

/** What one event says. */
const changeSchema = z.object({
  messages: z.array(z.string()).meta({ description: `Ids of messages that came or changed, at most ${MOST_IDS}` }),
  more: z.boolean().meta({ description: 'Others changed too' }),
  inbox: z.int().meta({ description: 'How much needs a person, of what the caller may see' }),
  open: z
    .array(z.object({ message: z.string(), who: z.string() }))
    .meta({ description: 'Who has which message open at present' }),
});
const streamQuery = z.strictObject({
  open: z
    .union([messageParams.shape.id, quarantineParams.shape.id])
    .optional()
    .meta({ description: 'The message, or entry of the quarantine, that the caller has open; others are told' }),
});
type StreamQuery = z.infer<typeof streamQuery>;
type Change = z.infer<typeof changeSchema>;

interface Client {
  readonly response: ServerResponse;
  readonly who: string;
  readonly seesQuarantine: boolean;
}

/** What is looked up for all who listen to a tenant. */
interface State {
  readonly messages: number;
  readonly held: number;
  readonly open: Change['open'];
}

/** Everybody who listens to one tenant, and what they were told last. */
interface Watch {
  readonly tenant: Tenant;
  readonly clients: Set<Client>;
  readonly noticed: Set<string>;
  readonly unsubscribe: () => void;
  ends: Map<number, ChannelEnd>;
  state: State;
  timer: NodeJS.Timeout | undefined;
}

export function streamRoutes(deps: StreamDeps): Route[] {
  const hub = new Hub(deps);
  return [
    {
      method: 'get',
      path: '/v1/stream',
      permission: 'messages.read',
      summary:
        'Live updates as server-sent events: `change` says which messages came or changed, how full the inbox is, and who has which message open',
      query: streamQuery,
      replies: {
        200: { description: 'Events, until either side ends them', type: 'text/event-stream', schema: changeSchema },
        429: { description: 'Too many listen already' },
      },
      handler: (request: ApiRequest<unknown, StreamQuery>) => {
        const principal = caller(request.principal);
        if (request.incoming.method === 'HEAD') return { status: 200, type: 'text/event-stream', body: '' };
        hub.checkRoom(principal);
        return { stream: (response) => hub.serve(principal, request, response) };
      },
    },
  ];
}

/** Looks once a second for each tenant that somebody listens to, however many do. */
class Hub {
  readonly #watches = new Map<number, Watch>();
  readonly #settings: StreamSettings;
  readonly #room: Room;

  constructor(private readonly deps: StreamDeps) {
    this.#settings = { ...DEFAULTS, ...deps.settings };
    this.#room = new Room(this.#settings.maxClients);
  }

  checkRoom({ tenant, who }: Principal): void {
    const own = [...(this.#watches.get(tenant.id)?.clients ?? [])].filter((client) => client.who === who).length;
    if (this.#room.fits(tenant.id, 1) && own < this.#settings.maxClientsEach) return;
    throw new Problem(429, 'too_many_streams', 'Too many streams are open: close some.', {}, { 'retry-after': '30' });
  }

  /** Resolves when the stream has ended. */
  async serve(
    principal: Principal,
    request: ApiRequest<unknown, StreamQuery>,
    response: ServerResponse,
  ): Promise<void> {
    const tenant = principal.tenant.id;
    this.#room.add(tenant, 1);
    try {
      await this.#stream(principal, request, response);
    } finally {
      this.#room.remove(tenant, 1);
    }
  }

  async #stream(
    { tenant, who, permissions }: Principal,
    request: ApiRequest<unknown, StreamQuery>,
    response: ServerResponse,
  ): Promise<void> {
    const { stopping } = this.deps;
    const ended = new Promise<void>((resolve) => response.once('close', resolve));
    const end = () => response.end();
    const client = { response, who, seesQuarantine: permissions.has('quarantine.read') };
    response.writeHead(200, {
      'content-type': 'text/event-stream',
      'cache-control': 'no-store',
      // Nginx would otherwise hold events back.
      'x-accel-buffering': 'no',
    });
    const watch = await this.#join(tenant, client);
    write(client, [], false, watch.state);
    const open = placeOf(request.query.open);
    const seesIt = open && (open.channel !== NO_CHANNEL || client.seesQuarantine);
    const leavePresence = seesIt ? this.#bePresent(watch, open, who) : undefined;
    const beat = setInterval(() => send(response, ': \n\n'), this.#settings.heartbeatMs);
    const recheck = setInterval(() => {
      this.#stillAllowed(request).then((allowed) => allowed || end(), end);
    }, this.#settings.recheckMs);
    stopping.addEventListener('abort', end);
    if (stopping.aborted) end();
    await ended;
    stopping.removeEventListener('abort', end);
    clearInterval(beat);
    clearInterval(recheck);
    this.#leave(watch, client);
    await leavePresence?.();
  }

  /** Others see that somebody has a message open, until this page ends or is not heard of any more. Answers how to end it. */
  #bePresent(watch: Watch, place: Place, who: string): () => Promise<void> {
    const { pool } = this.deps;
    const tenant = watch.tenant.id;
    const stream = randomUUID();
    let saying: Promise<unknown> = Promise.resolve();
    const say = () => {
      // Missing once is no harm: it is said again, and what is not said for long is over.
      saying = saying.then(() => notePresence(pool, tenant, stream, { ...place, who })).catch(() => undefined);
    };
    const again = setInterval(say, this.#settings.presentMs);
    say();
    void saying.then(() => this.#lookSoon(watch, 0));
    return async () => {
      clearInterval(again);
      await saying;
      await endPresence(pool, tenant, stream).catch(() => undefined);
      if (watch.clients.size > 0) this.#lookSoon(watch, 0);
    };
  }

  async #stillAllowed(request: ApiRequest): Promise<boolean> {
    try {
      return (await request.stillAllowed?.()) ?? true;
    } catch (error) {
      // Nobody can be asked just now; the next time will tell.
      if (classify(error) === 'unavailable') return true;
      throw error;
    }
  }

  async #join(tenant: Tenant, client: Client): Promise<Watch> {
    const ends = await this.#ends(tenant);
    const state = await this.#state(tenant);
    const watch = this.#watches.get(tenant.id) ?? this.#begin(tenant, ends, state);
    watch.clients.add(client);
    return watch;
  }

  #begin(tenant: Tenant, ends: Map<number, ChannelEnd>, state: State): Watch {
    const noticed = new Set<string>();
    const unsubscribe = this.deps.notices.subscribe(tenant.id, (ids) => {
      for (const id of ids) if (noticed.size <= MOST_IDS) noticed.add(id);
      this.#lookSoon(watch, 0);
    });
    const watch: Watch = { tenant, clients: new Set(), noticed, unsubscribe, ends, state, timer: undefined };
    this.#watches.set(tenant.id, watch);
    this.#lookSoon(watch, this.#settings.pollMs);
    return watch;
  }

  #leave(watch: Watch, client: Client): void {
    watch.clients.delete(client);
    if (watch.clients.size > 0) return;
    clearTimeout(watch.timer);
    watch.unsubscribe();
    this.#watches.delete(watch.tenant.id);
  }

  #lookSoon(watch: Watch, ms: number): void {
    clearTimeout(watch.timer);
    watch.timer = setTimeout(() => {
      this.#look(watch)
        .catch((error: unknown) => this.#lost(watch, error))
        .finally(() => {
          if (watch.clients.size > 0) this.#lookSoon(watch, this.#settings.pollMs);
        });
    }, ms);
  }

  /** Without a database there is nothing to tell; anything else is a fault that the clients' return would only repeat. */
  #lost(watch: Watch, error: unknown): void {
    if (classify(error) === 'unavailable') return;
    for (const { response } of watch.clients) response.destroy();
  }

  async #look(watch: Watch): Promise<void> {
    const ends = await this.#ends(watch.tenant);
    const state = await this.#state(watch.tenant);
    const ids = new Set(watch.noticed);
    watch.noticed.clear();
    for (const end of ends.values()) addNew(ids, watch.ends.get(end.channel), end);
    if (ids.size === 0 && isDeepStrictEqual(state, watch.state)) return;
    watch.ends = ends;
    watch.state = state;
    const messages = [...ids];
    for (const client of watch.clients) {
      write(client, messages.slice(0, MOST_IDS), messages.length > MOST_IDS, state);
    }
  }

  async #state(tenant: Tenant): Promise<State> {
    const [{ waiting }, open] = await Promise.all([
      inboxCounts(this.deps.pool, tenant.id),
      presences(this.deps.pool, tenant.id),
    ]);
    const messages = waiting.get('unrouted') ?? 0;
    const all = [...waiting.values()].reduce((sum, one) => sum + one, 0);
    return { messages, held: all - messages, open: open.map((one) => ({ message: itemId(one), who: one.who })) };
  }

  async #ends(tenant: Tenant): Promise<Map<number, ChannelEnd>> {
    const channels = Array.from({ length: tenant.channels }, (_, n) => n);
    return new Map((await channelEnds(this.deps.pool, tenant.id, channels)).map((end) => [end.channel, end]));
  }
}

function placeOf(open: StreamQuery['open']): Place | undefined {
  return typeof open === 'number' ? entryPlace(open) : open;
}

/** What was sequenced and what was planned since, the newest first, one more than can be told at most. */
function addNew(ids: Set<string>, before: ChannelEnd | undefined, { channel, last, planned }: ChannelEnd): void {
  for (let sequence = last; sequence > (before?.last ?? 0) && ids.size <= MOST_IDS; sequence--) {
    ids.add(messageId({ channel, sequence }));
  }
  for (let sequence = planned; sequence > (before?.planned ?? 0) && ids.size <= MOST_IDS; sequence--) {
    ids.add(messageId({ channel, sequence }));
  }
}

function write({ response, seesQuarantine }: Client, messages: string[], more: boolean, state: State): void {
  const inbox = state.messages + (seesQuarantine ? state.held : 0);
  const open = seesQuarantine ? state.open : state.open.filter(({ message }) => !message.startsWith('q-'));
  const change: Change = { messages, more, inbox, open };
  send(response, `event: change\ndata: ${JSON.stringify(change)}\n\n`);
}

function send(response: ServerResponse, text: string): void {
  if (response.writableLength > MOST_UNSENT_BYTES) response.destroy();
  else response.write(text);
}
