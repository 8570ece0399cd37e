import { blamed } from './rungs/blamed.js';
import { calendar } from './rungs/calendar.js';
import { envelope } from './rungs/envelope.js';
import { files } from './rungs/files.js';
import { full } from './rungs/full.js';
import { headers } from './rungs/headers.js';
import { html } from './rungs/html.js';
import { nested } from './rungs/nested.js';
import { plain } from './rungs/plain.js';
import { poison } from './rungs/poison.js';
import type { RungDefinition } from './rungs/rung.js';
import { text } from './rungs/text.js';
import { tnef } from './rungs/tnef.js';

/** The rungs there are. A new one is a file in `rungs/` and a line here; the configured ladder puts them in order. */
export const RUNGS = {
  full,
  blamed,
  plain,
  tnef,
  calendar,
  nested,
  files,
  html,
  text,
  headers,
  envelope,
  poison,
} satisfies Record<string, RungDefinition>;

export type RungName = keyof typeof RUNGS;

/** The names of a ladder from the top; a rung's number is its place in it. The last one is `poison`. */
export type Ladder = readonly RungName[];

export const DEFAULT_LADDER: Ladder = Object.keys(RUNGS) as RungName[];
