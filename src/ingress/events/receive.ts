import type { IncomingHttpHeaders } from 'node:http';
import type { SourceDirectory } from '../../channel/source.js';
import type { Arrival } from '../../message/arrival.js';
import type { Clock } from '../../message/clock.js';
import type { Refuse } from '../../message/refusal.js';
import type { Tenant } from '../../message/tenant.js';
import type { Accept, Verdict } from '../../message/verdict.js';
import { excerpt } from '../field.js';
import { verdictMembers } from '../http/result.js';
import { type EventRead, type Feed, makeFeed } from './event.js';
import { type Mode, readRequest } from './request.js';
import type { InTurns } from './turns.js';

/** Of one request, so many rejected events are noted as refusals; its answer tells them all. */
const MAX_NOTED = 100;

export interface EventsDeps {
  readonly accept: Accept;
  readonly refuse: Refuse;
  readonly sources: () => SourceDirectory;
  readonly clock: Clock;
  readonly inTurns: InTurns;
}

/** Who sends. */
export interface Sender {
  readonly tenant: Tenant;
  readonly who: string;
}

export type EventsAnswer =
  | { readonly ok: true; readonly status: 200 | 202 | 409 | 422; readonly body: string }
  | { readonly ok: false; readonly code: 'json_malformed' | 'too_many_events' };

/** Takes the events of one body and answers with a result for each, in their order. Rejects with Busy or Unavailable. */
export async function receiveEvents(
  deps: EventsDeps,
  sender: Sender,
  mode: Mode,
  headers: IncomingHttpHeaders,
  body: Buffer,
  maxEvents: number,
): Promise<EventsAnswer> {
  const context = {
    tenant: sender.tenant,
    peer: sender.who,
    arrivedAt: deps.clock.now(),
    feed: feedLookup(deps.sources(), sender.tenant.name),
  };
  const request = await readRequest(mode, body, headers, maxEvents, context, deps.inTurns);
  if (!request.ok) return request;
  noteRejected(deps.refuse, sender, request.reads);
  const verdicts = await acceptAll(deps.accept, request.reads);
  const results = resultsBody(request.reads, verdicts);
  return {
    ok: true,
    status: request.batch ? batchStatus(verdicts) : singleStatus(verdicts[0] as Verdict),
    body: results,
  };
}

/** Events of one request mostly share their source; each is looked up once. */
function feedLookup(directory: SourceDirectory, tenant: string): (cloudEventSource: string) => Feed | undefined {
  const found = new Map<string, Feed | undefined>();
  return (cloudEventSource) => {
    const known = found.get(cloudEventSource);
    if (known !== undefined || found.has(cloudEventSource)) return known;
    const source = directory.events(tenant, cloudEventSource);
    const feed = source && makeFeed(source);
    found.set(cloudEventSource, feed);
    return feed;
  };
}

/** A verdict for each event that was read: the rejected ones' own, the others' from their channel. */
async function acceptAll(accept: Accept, reads: readonly EventRead[]): Promise<Verdict[]> {
  const arrivals: Arrival[] = [];
  for (const event of reads) if (event.read === 'arrival') arrivals.push(event.arrival);
  const said = arrivals.length === 0 ? [] : await accept(arrivals);
  let next = 0;
  return reads.map((event) => (event.read === 'arrival' ? (said[next++] as Verdict) : event.rejected));
}

function noteRejected(refuse: Refuse, sender: Sender, reads: readonly EventRead[]): void {
  let noted = 0;
  for (const event of reads) {
    if (event.read !== 'rejected') continue;
    if (noted++ === MAX_NOTED) return;
    const { code, reason } = event.rejected;
    const envelope: Record<string, string> = event.id === null ? {} : { id: excerpt(event.id) };
    refuse({ tenant: sender.tenant.id, ingress: 'events', peer: sender.who, envelope, code, why: reason });
  }
}

function resultsBody(reads: readonly EventRead[], verdicts: readonly Verdict[]): string {
  let text = '{"results":[';
  for (let index = 0; index < reads.length; index++) {
    const event = reads[index] as EventRead;
    const id = event.read === 'arrival' ? event.arrival.externalId : event.id;
    text += `${index === 0 ? '' : ','}{"index":${index},${verdictMembers(id, verdicts[index] as Verdict)}}`;
  }
  return `${text}]}`;
}

function batchStatus(verdicts: readonly Verdict[]): 202 | 422 {
  return verdicts.every(({ verdict }) => verdict === 'sequenced' || verdict === 'duplicate') ? 202 : 422;
}

function singleStatus(verdict: Verdict): 200 | 202 | 409 | 422 {
  switch (verdict.verdict) {
    case 'sequenced':
      return 202;
    case 'duplicate':
      return 200;
    case 'conflict':
      return 409;
    case 'expired':
    case 'rejected':
      return 422;
    default: {
      const never: never = verdict;
      return never;
    }
  }
}
