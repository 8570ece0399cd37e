import { readFileSync } from 'node:fs';
import { MAIL_LIMITS, type MailLimits } from '../../src/content/limits.js';
import { read } from '../../src/content/rungs/full.js';
import type { RungTools } from '../../src/content/rungs/rung.js';
import type { View } from '../../src/message/view.js';

/** Tools of a rung 0 outside of any child. */
export function toolsWith(limits: Partial<MailLimits> = {}): RungTools {
  return { rung: 0, limits: { ...MAIL_LIMITS, ...limits }, stage: () => undefined };
}

/** Reads a mail on rung 0, in this process. Lines end as they are written here. */
export function readMail(raw: string | Buffer, limits: Partial<MailLimits> = {}): Promise<View> {
  return read(typeof raw === 'string' ? Buffer.from(raw, 'latin1') : raw, toolsWith(limits));
}

/** A mail of tests/fixtures/mail, by folder and name. */
export function fixture(name: string): Buffer {
  return readFileSync(new URL(`../fixtures/mail/${name}`, import.meta.url));
}

/** Defects as `code@where`. */
export function defectsOf(view: View): string[] {
  return view.defects.map(({ code, where }) => `${code}@${where}`);
}
