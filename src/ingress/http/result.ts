import { messageId, quarantineId } from '../../message/id.js';
import type { Verdict } from '../../message/verdict.js';

/**
 * The members that tell a verdict, as JSON without braces. Written by hand: an answer holds a thousand of them. `id` is
 * the only text a sender chose; codes and pointers are ours.
 */
export function verdictMembers(id: string | null, verdict: Verdict): string {
  const head = `"id":${id === null ? 'null' : JSON.stringify(id)},"verdict":"${verdict.verdict}"`;
  switch (verdict.verdict) {
    case 'sequenced':
      return `${head},"message":"${messageId(verdict)}","channel":${verdict.channel},"sequence":${verdict.sequence}`;
    case 'duplicate':
      return verdict.basis === 'filter'
        ? `${head},${NO_PLACE},"basis":"filter"`
        : `${head},${NO_PLACE},"of":"${messageId(verdict.of)}","basis":"store"`;
    case 'conflict':
      return `${head},${quarantined(verdict.quarantine)},"of":"${messageId(verdict.of)}"`;
    case 'expired':
      return `${head},${quarantined(verdict.quarantine)}`;
    case 'rejected': {
      const pointer = verdict.pointer === undefined ? '' : `,"pointer":${JSON.stringify(verdict.pointer)}`;
      return `${head},${NO_PLACE},"code":"${verdict.code}"${pointer},"reason":${JSON.stringify(verdict.reason)}`;
    }
    default: {
      const never: never = verdict;
      return never;
    }
  }
}

const NO_PLACE = '"message":null,"channel":null,"sequence":null';

function quarantined(n: number): string {
  return `"message":"${quarantineId(n)}","channel":null,"sequence":null`;
}
