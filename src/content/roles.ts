import type { Leaf } from './scan.js';

/** What a leaf of a mail is to its view. */
export type Role = 'text' | 'html' | 'tnef' | 'calendar' | 'nested' | 'report' | 'file';

const TNEF: ReadonlySet<string> = new Set(['application/ms-tnef', 'application/vnd.ms-tnef']);
const CALENDARS: ReadonlySet<string> = new Set(['text/calendar', 'application/ics']);
const MESSAGES: ReadonlySet<string> = new Set(['message/rfc822', 'message/global']);
/** Groups of fields (RFC 3464, 8098, 5965). */
const REPORTS: ReadonlySet<string> = new Set([
  'message/delivery-status',
  'message/global-delivery-status',
  'message/disposition-notification',
  'message/global-disposition-notification',
  'message/feedback-report',
]);

export function roleOf(leaf: Leaf): Role {
  if (isTnef(leaf)) return 'tnef';
  if (isBody(leaf)) return leaf.type === 'text/html' ? 'html' : 'text';
  if (CALENDARS.has(leaf.type)) return 'calendar';
  if (MESSAGES.has(leaf.type)) return 'nested';
  return REPORTS.has(leaf.type) ? 'report' : 'file';
}

/** Whether a leaf is shown as body text: text that does not say it is a file. */
function isBody(leaf: Leaf): boolean {
  const isText = leaf.type === 'text/plain' || leaf.type === 'text/html';
  return isText && (leaf.disposition === null || leaf.disposition === 'inline');
}

export function isTnef(leaf: Leaf): boolean {
  return TNEF.has(leaf.type) || leaf.name?.toLowerCase() === 'winmail.dat';
}
