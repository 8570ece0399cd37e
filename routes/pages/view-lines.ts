import { stringify } from 'lossless-json';
import type { View } from '../../src/message/view.js';
import { addresses, size } from './words.js';

/* A view as plain lines: what two rungs make of one message is compared in them. */

/** Of a text as much as is shown, in UTF-16 code units. */
export const TEXT_SHOWN = 16_000;
const LINE_SHOWN = 400;
/** Of each list. */
export const LISTED = 200;

export function viewLines(view: View): string[] {
  return [
    ...field('Subject', view.subject),
    ...field('From', addresses(view.from)),
    ...field('To', addresses(view.to)),
    ...field('Cc', addresses(view.cc)),
    ...field('Reply-To', addresses(view.replyTo)),
    ...field('Date', view.date),
    ...field('Message-ID', view.messageId),
    `${view.headers.length} header fields`,
    ...block('Text', view.text),
    ...block('HTML', view.html),
    ...block('Data', view.data === undefined ? null : (stringify(view.data, undefined, 2) ?? null)),
    ...list('Parts', view.parts, partLine),
    ...list('Set aside', view.setAside, setAsideLine),
    ...list('Wrong', view.defects, defectLine),
    ...list('Not read', view.unread, (name) => name),
  ].map((text) => (text.length > LINE_SHOWN ? `${text.slice(0, LINE_SHOWN)}…` : text).toWellFormed());
}

export function partLine({ path, name, type, size: bytes }: View['parts'][number]): string {
  return `${path} ${name ?? '(no name)'}, ${type}, ${size(bytes)}`;
}

export function setAsideLine({ where, name, type, size: bytes, why }: View['setAside'][number]): string {
  const what = [name, type].filter((one) => one !== null).join(', ');
  return `${where}${what === '' ? '' : ` (${what})`}, ${size(bytes)}: ${why}`;
}

export function defectLine({ code, where, action }: View['defects'][number]): string {
  return `${code}${where === '' ? '' : ` in ${where}`}: ${action}`;
}

function field(name: string, value: string | null): string[] {
  return value === null || value === '' ? [] : [`${name}: ${value}`];
}

function block(title: string, text: string | null): string[] {
  if (text === null || text === '') return [];
  return ['', `${title}:`, ...text.slice(0, TEXT_SHOWN).split(/\r?\n/)];
}

function list<T>(title: string, all: readonly T[], lineOf: (one: T) => string): string[] {
  if (all.length === 0) return [];
  const rest = all.length - LISTED;
  return ['', `${title}:`, ...all.slice(0, LISTED).map(lineOf), ...(rest > 0 ? [`and ${rest} more`] : [])];
}
