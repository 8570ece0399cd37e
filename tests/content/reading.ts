import { readFileSync } from 'node:fs';
import { EVERYTHING } from '../../src/content/features.js';
import { DEFAULT_LADDER, type RungName } from '../../src/content/index.js';
import { levelOf } from '../../src/content/ladder.js';
import { MAIL_LIMITS, type MailLimits } from '../../src/content/limits.js';
import { readMail as read } from '../../src/content/reader.js';
import type { View } from '../../src/message/view.js';

type MailTools = Parameters<typeof read>[1];

/** Tools of a rung 0 outside of any child. */
export function toolsWith(limits: Partial<MailLimits> = {}): MailTools {
  return { level: EVERYTHING, limits: { ...MAIL_LIMITS, ...limits }, stage: () => undefined };
}

/** Tools of a rung of the default ladder, and what is blamed there. */
export function toolsOf(name: RungName, blamed: readonly number[] = [], limits: Partial<MailLimits> = {}): MailTools {
  return { ...toolsWith(limits), level: levelOf(DEFAULT_LADDER, { rung: DEFAULT_LADDER.indexOf(name), blamed }) };
}

/** Reads a mail on rung 0, in this process. Lines end as they are written here. */
export function readMail(raw: string | Buffer, limits: Partial<MailLimits> = {}): Promise<View> {
  return read(bytesOf(raw), toolsWith(limits));
}

/** Reads a mail on a rung of the default ladder. */
export function readOn(
  name: RungName,
  raw: string | Buffer,
  blamed: readonly number[] = [],
  limits: Partial<MailLimits> = {},
): Promise<View> {
  return read(bytesOf(raw), toolsOf(name, blamed, limits));
}

function bytesOf(raw: string | Buffer): Buffer {
  return typeof raw === 'string' ? Buffer.from(raw, 'latin1') : raw;
}

/** A mail of tests/fixtures/mail, by folder and name. */
export function fixture(name: string): Buffer {
  return readFileSync(new URL(`../fixtures/mail/${name}`, import.meta.url));
}

/** Defects as `code@where`. */
export function defectsOf(view: View): string[] {
  return view.defects.map(({ code, where }) => `${code}@${where}`);
}
