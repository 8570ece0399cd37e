import type { NestedMessage } from '../message/view.js';
import { anatomyOf, bytesOf, rolesOf } from './anatomy.js';
import { type Calendar, MAX_CALENDAR_BYTES, readCalendar } from './calendar.js';
import { textIn } from './charset.js';
import type { DefectList } from './defects.js';
import { DefectList as Defects } from './defects.js';
import { readFields } from './fields.js';
import { firstText } from './first-text.js';
import type { MailLimits } from './limits.js';
import { MAX_RECIPIENTS, type Report, readReport } from './report.js';
import type { Role } from './roles.js';
import type { Leaf } from './scan.js';
import { unwrapTnef } from './tnef.js';

/** What a part wraps. */
export interface Wrapped {
  readonly message: NestedMessage | null;
  readonly files: readonly WrappedPart[];
  readonly calendar: Calendar | null;
  readonly report: Report | null;
}

export interface WrappedPart {
  /** Within what wraps it: `1`, `2.1`, `2/1`. */
  readonly path: string;
  readonly name: string | null;
  readonly type: string | null;
  readonly contentId: string | null;
  readonly bytes: Buffer;
}

const NOTHING: Wrapped = { message: null, files: [], calendar: null, report: null };

interface Wrapping {
  readonly leaf: Leaf;
  readonly bytes: Buffer;
  /** How many more parts may be listed. */
  readonly room: number;
  readonly limits: MailLimits;
  readonly defects: DefectList;
}

/** Looks into a part that wraps something. What can't be read of it is a defect; the part itself stays what it is. */
export function unwrapped(role: Role, wrapping: Wrapping): Wrapped {
  switch (role) {
    case 'tnef':
      return ofTnef(wrapping);
    case 'calendar':
      return { ...NOTHING, calendar: calendarOf(wrapping) };
    case 'nested':
      return ofMail(wrapping);
    case 'report':
      return { ...NOTHING, report: reportOf(wrapping) };
    case 'text':
    case 'html':
    case 'file':
      return NOTHING;
    default: {
      const never: never = role;
      return never;
    }
  }
}

function ofTnef({ leaf, bytes, room, defects }: Wrapping): Wrapped {
  const found = unwrapTnef(bytes, Math.max(0, room - 3));
  if (found === null || found.broken) defects.add('tnef_broken', leaf.path);
  if (found === null) return NOTHING;
  const body = found.text === null ? [] : [{ ...TNEF_TEXT, bytes: Buffer.from(found.text) }];
  return { ...NOTHING, files: [...body, ...found.files].map((file, i) => ({ ...file, path: String(i + 1) })) };
}

const TNEF_TEXT = { name: 'body.txt', type: 'text/plain', contentId: null };

function reportOf({ leaf, bytes, limits, defects }: Wrapping): Report {
  const report = readReport(leaf.type, bytes, limits);
  if (report.recipients.length >= MAX_RECIPIENTS) defects.add('too_large', leaf.path, 'only its beginning is data');
  return report;
}

function calendarOf({ leaf, bytes, defects }: Wrapping): Calendar | null {
  if (bytes.length > MAX_CALENDAR_BYTES) {
    defects.add('too_large', leaf.path, 'kept as the file it is');
    return null;
  }
  const calendar = readOrNull(() => readCalendar(textIn(bytes, leaf.charset)));
  if (calendar === null) defects.add('calendar_broken', leaf.path);
  return calendar;
}

function readOrNull<T>(read: () => T | null): T | null {
  try {
    return read();
  } catch {
    return null;
  }
}

/** How deep mails within mails are looked into. */
const MAX_NESTED = 8;

/** A mail within the mail: its header, its first text and its parts, by our own reader; those within it, too. */
function ofMail(wrapping: Wrapping, depth = 1): Wrapped {
  const { leaf, bytes, room, limits, defects } = wrapping;
  // What is wrong with it is wrong with that mail, not with the one around it.
  const own = new Defects();
  const anatomy = anatomyOf(bytes, limits);
  const { subject, from, to, cc, date, messageId } = readFields(anatomy.head, own);
  const { text } = firstText(anatomy, limits, own);
  const files: WrappedPart[] = [];
  const { restFrom, tooDeep, longHeads } = anatomy.structure;
  if (restFrom !== null || anatomy.head.cut || longHeads.length > 0)
    defects.add('too_many_parts', leaf.path, 'the others are in the part that wraps them');
  if (tooDeep.length > 0) defects.add('nesting_too_deep', leaf.path, 'kept as the file it is');
  for (const { leaf: inner, role } of rolesOf(anatomy)) {
    if (role === 'text' || role === 'html') continue;
    if (files.length >= room) {
      defects.add('too_many_parts', leaf.path, 'the others are in the part that wraps them');
      break;
    }
    const file = { path: inner.path, name: inner.name, type: inner.type, contentId: inner.contentId };
    const written = bytesOf(anatomy, inner);
    files.push({ ...file, bytes: written });
    if (role !== 'nested') continue;
    if (depth >= MAX_NESTED) {
      defects.add('nesting_too_deep', leaf.path, 'kept as the file it is');
      continue;
    }
    const within = ofMail({ ...wrapping, leaf: inner, bytes: written, room: room - files.length }, depth + 1);
    files.push(...within.files.map((each) => ({ ...each, path: `${inner.path}/${each.path}` })));
  }
  return { ...NOTHING, message: { subject, from, to, cc, date, messageId, text }, files };
}
