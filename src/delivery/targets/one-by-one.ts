import type { Clock } from '../../message/clock.js';
import type { Outgoing, Sender, SendResult } from '../../message/delivery.js';
import { Breaker } from './breaker.js';
import { Slots, sendInLines } from './lines.js';

export interface OneByOne {
  readonly clock: Clock;
  /** So many are under way at a time. */
  readonly width: number;
  /** What failed, for the reason of what was not tried: `the target`. */
  readonly whom: string;
  /** What needs no connection to be answered is answered at once; for all else, how it is tried. Neither throws nor rejects. */
  readonly prepare: (outgoing: Outgoing) => SendResult | (() => Promise<SendResult>);
  /** Whether a result says that the target itself is in trouble. */
  readonly isTrouble: (result: SendResult) => boolean;
  /** Lets go of the connections, when nothing is under way any more. */
  readonly end: () => void;
}

/** A sender that sends each delivery by itself, several at a time, and leaves a target in trouble alone for a while. */
export function createOneByOne({ clock, width, whom, prepare, isTrouble, end }: OneByOne): Sender {
  const slots = new Slots(width);
  const breaker = new Breaker(clock);
  let closing = false;

  const sendOne = async (outgoing: Outgoing): Promise<SendResult> => {
    if (closing) return { result: 'interrupted', reason: 'shutting down' };
    const prepared = prepare(outgoing);
    if (typeof prepared !== 'function') return prepared;
    const waitMs = breaker.ask();
    if (waitMs > 0) return { result: 'interrupted', reason: `${whom} failed several times in a row`, afterMs: waitMs };
    const result = await prepared();
    if (isTrouble(result)) breaker.failed();
    else breaker.answered();
    return result;
  };

  return {
    send: (batch) => sendInLines(batch, slots, sendOne),
    resting: () => breaker.restMs(),
    async close() {
      closing = true;
      await slots.settled();
      end();
    },
  };
}
