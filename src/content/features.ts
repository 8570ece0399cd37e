/**
 * What a rung can leave out of a mail's view. A rung leaves out what those above it do, and something of its own.
 *
 * `reflow`: paragraphs put together; `html_text`: plain text made of HTML; `tnef`, `calendar`, `nested`, `report`: what is
 * wrapped in such a part; `files`: attachments; `html`: the HTML body.
 */
export const FEATURES = ['reflow', 'html_text', 'tnef', 'calendar', 'nested', 'report', 'files', 'html'] as const;
export type Feature = (typeof FEATURES)[number];

/** Who reads a mail on a rung: everything with parsers, or our own linear reader, as little as the name says. */
export type Reader = 'whole' | 'text' | 'headers' | 'envelope' | 'nothing';

/** How much of a mail is read in one try. */
export interface Level {
  readonly reader: Reader;
  readonly without: ReadonlySet<Feature>;
  /** Leaves (`Leaf.n`) that are blamed for an earlier try: they are not looked into. */
  readonly blamed: ReadonlySet<number>;
}

export const EVERYTHING: Level = { reader: 'whole', without: new Set(), blamed: new Set() };
