import { type Content, ContentClosed, type ParseResult } from '../content/content.js';
import { crashHash } from '../content/crash-hash.js';
import { EVENT_LADDER, eventJson, eventView } from '../content/event.js';
import type { Ladder } from '../content/index.js';
import { afterFailure, afterInterruptions, isPoison, levelOf } from '../content/ladder.js';
import type { SchemaCheck } from '../content/schema.js';
import type { Stage } from '../content/stages.js';
import type { LadderPlace, View } from '../message/view.js';
import type { ContentPort, ParseOutcome } from '../owner/state.js';

/** Reading as the owner needs it: events where they lie, mail by the children, one after another on the ladder. */
export function createContentPort(
  content: Content,
  ladder: Ladder,
  slots: number,
  tryMs: number,
  schemaOf: (tenant: number, source: number) => SchemaCheck | null = () => null,
): ContentPort {
  const how = JSON.stringify([ladder, tryMs]);
  return {
    slots,
    tryMs,
    crashHash: (raw) => crashHash(raw, how),
    parsedOf: eventJson,
    inPlace: (message, parsed, rung): View =>
      eventView(message, parsed, rung, schemaOf(message.tenant, message.source)),
    async parse(raw, place, suspect): Promise<ParseOutcome> {
      try {
        const result = await content.parse({ raw, rung: place.rung, level: levelOf(ladder, place), suspect });
        return outcomeOf(result, place, ladder);
      } catch (error) {
        if (!(error instanceof ContentClosed)) throw error;
        return { ok: false, ours: true, stage: 'queued', reason: 'Waybill is shutting down' };
      }
    },
    afterInterruptions: (kind, place) =>
      kind === 'mail' ? afterInterruptions(place, ladder) : afterEventInterruptions(place),
    isPoison: (kind, rung) => (kind === 'mail' ? isPoison(rung, ladder) : rung >= EVENT_LADDER.length - 1),
  };
}

/** So many deaths of the whole process are taken for chance. */
const CHANCE_INTERRUPTIONS = 2;

/** An event's rungs are few: one after another. */
function afterEventInterruptions(place: LadderPlace): LadderPlace {
  return place.interruptions > CHANCE_INTERRUPTIONS ? { ...place, rung: place.rung + 1, interruptions: 0 } : place;
}

/** Here the fields that copies differ in may be to blame. */
const OF_HEADER: ReadonlySet<Stage | 'queued'> = new Set(['begun', 'headers', 'checks']);

function outcomeOf(result: ParseResult, place: LadderPlace, ladder: Ladder): ParseOutcome {
  const child = result.child === null ? null : `pid ${result.child}`;
  if (result.ok) return { ok: true, view: result.view, written: result.written, child };
  const { failure, stage: begun, leaf } = result;
  const stage = leaf === null ? begun : `${begun} of part ${leaf}`;
  // May quote content, and the database can't hold a NUL.
  const reason = `${failure}: ${result.reason.replaceAll('\0', '\ufffd')}`;
  if (failure === 'unavailable') return { ok: false, ours: true, stage, reason };
  const next = afterFailure(place, failure, { stage: begun, leaf }, ladder);
  return { ok: false, ours: false, stage, reason, next, ofContent: !OF_HEADER.has(begun), child };
}
