import type { Content, ParseResult } from '../content/content.js';
import { ContentClosed } from '../content/content.js';
import { eventJson, eventView } from '../content/event.js';
import type { Ladder } from '../content/index.js';
import type { View } from '../message/view.js';
import type { ContentPort, ParseOutcome } from '../owner/state.js';

/** Reading as the owner needs it: events where they lie, mail by the children, one after another on the ladder. */
export function createContentPort(content: Content, ladder: Ladder, slots: number): ContentPort {
  return {
    slots,
    parsedOf: eventJson,
    inPlace: (message, parsed, rung): View => eventView(message, parsed, rung),
    async parse(raw, rung): Promise<ParseOutcome> {
      try {
        return outcomeOf(await content.parse({ raw, rung }));
      } catch (error) {
        if (!(error instanceof ContentClosed)) throw error;
        return { ok: false, ours: true, stage: 'queued', reason: 'Waybill is shutting down' };
      }
    },
    // The last rung is poison: nothing is read there, so below the one before it there is none.
    lower: (rung) => (rung + 1 < ladder.length - 1 ? rung + 1 : null),
  };
}

function outcomeOf(result: ParseResult): ParseOutcome {
  if (result.ok) return { ok: true, view: result.view };
  const where = result.part === null ? result.stage : `${result.stage} of part ${result.part}`;
  return {
    ok: false,
    ours: result.failure === 'unavailable',
    stage: where,
    // May quote content, and the database can't hold a NUL.
    reason: `${result.failure}: ${result.reason.replaceAll('\0', '\ufffd')}`,
  };
}
