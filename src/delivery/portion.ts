import type { Portion } from '../message/portion.js';
import type { BodyChoice } from './body.js';

/** Why a target's body can't be a portion, as a sentence that goes on after the target's name; null where it can. */
export function whyNoPortion({ body }: Pick<BodyChoice, 'body'>, { part, fields }: Portion): string | null {
  if (body === 'message') return null;
  if (part !== undefined && fields !== undefined) {
    return `gets an attachment or fields, but not both in one body (it has body: ${body}; with body: message it could)`;
  }
  return body === 'raw' && fields !== undefined
    ? 'gets raw bytes, which found fields do not have (it has body: raw; with body: message or data it could)'
    : null;
}
