import { hash } from 'node:crypto';
import type { Part, SetAside, View, ViewField } from '../message/view.js';
import { EMPTY_VIEW } from '../message/view.js';
import { type Anatomy, anatomyOf, bytesOf, rolesOf, setAsideBytes, setAsideLeaf, typeOf } from './anatomy.js';
import { BodyTexts } from './body-texts.js';
import type { Calendar } from './calendar.js';
import { checkBody, checkHead, checkHops } from './checks.js';
import { cleanFileName, cleanLine } from './clean.js';
import { DefectList } from './defects.js';
import type { Feature, Level } from './features.js';
import { type HeaderView, readFields } from './fields.js';
import { firstText } from './first-text.js';
import { readHead } from './head.js';
import type { MailLimits } from './limits.js';
import type { Report } from './report.js';
import type { Role } from './roles.js';
import type { Leaf } from './scan.js';
import { type ReadTools, Refused } from './stages.js';
import { unwrapped, type Wrapped } from './wrapped.js';

export type MailTools = ReadTools<MailLimits> & { readonly level: Level };

/** Makes a view of a mail as its level says; the caller adds the rung's number. It may die or never end at the level `whole`. */
export async function readMail(raw: Buffer, tools: MailTools): Promise<View> {
  switch (tools.level.reader) {
    case 'whole':
      return new WholeReader(raw, tools, NOTHING).view();
    case 'text':
      return readText(raw, tools);
    case 'headers':
      return readHeaders(raw, tools);
    case 'envelope':
      return leftOut(raw, 'envelope_only', ['headers', 'text', 'html', 'parts', 'data']);
    case 'nothing':
      return leftOut(raw, 'all_set_aside', ['headers', 'text', 'html', 'parts', 'data']);
    default: {
      const never: never = tools.level.reader;
      return never;
    }
  }
}

/**
 * A part's bytes, or null where there is no such part. `n` as a view of the same level has it; the parts of the mail itself
 * have the same numbers on every level, and are read on each, also those that it leaves out.
 */
export async function readPart(raw: Buffer, n: number, tools: MailTools): Promise<PartBytes | null> {
  tools.stage('structure');
  const anatomy = anatomyOf(raw, tools.limits);
  const parts = partsOf(anatomy);
  const own = parts[n - 1];
  if (own !== undefined) {
    tools.stage('file', own.leaf.n);
    const bytes = bytesOf(anatomy, own.leaf);
    return { part: partOf(n, own.leaf, bytes), bytes };
  }
  if (tools.level.reader !== 'whole') return null;
  const reader = new WholeReader(raw, tools, (m) => m === n);
  await reader.readParts();
  return reader.kept.get(n) ?? null;
}

/** HTML as the sender wrote it, with the pictures that came along, by content id. */
export async function readHtml(
  raw: Buffer,
  tools: MailTools,
): Promise<{ html: string | null; pictures: ReadonlyMap<string, PartBytes> }> {
  const isPicture = (_n: number, part: Pick<Part, 'type' | 'contentId'>) =>
    part.contentId !== null && part.type.startsWith('image/');
  const reader = new WholeReader(raw, tools, isPicture);
  const { html } = await reader.readBodies();
  await reader.readParts();
  const pictures = new Map<string, PartBytes>();
  // The mail's own come before those of mails within it.
  for (const each of [...reader.kept.values()].sort((a, b) => a.part.n - b.part.n)) {
    const { contentId } = each.part;
    if (contentId !== null && !pictures.has(contentId)) pictures.set(contentId, each);
  }
  return { html, pictures };
}

export interface PartBytes {
  readonly part: Part;
  readonly bytes: Buffer;
}

/** Whether a part's bytes are wanted. */
type Keep = (n: number, part: Pick<Part, 'type' | 'contentId'>) => boolean;

const NOTHING: Keep = () => false;

/** Why a part is not looked into, or not at all, by what the level leaves out. */
const WRAPPED: ReadonlyMap<Role, Feature> = new Map([
  ['tnef', 'tnef'],
  ['calendar', 'calendar'],
  ['nested', 'nested'],
  ['report', 'report'],
]);

/**
 * Reads everything that its level allows, with parsers where they are better than we are. Each leaf of our own scan ends
 * in the texts, in the parts, or in what was set aside, and nowhere else: that is checked at the end.
 */
class WholeReader {
  readonly kept = new Map<number, PartBytes>();
  private readonly anatomy: Anatomy;
  private readonly defects = new DefectList();
  private readonly parts: Part[] = [];
  private readonly setAside: SetAside[] = [];
  private readonly unread = new Set<ViewField>();
  private readonly calendars: Calendar[] = [];
  private readonly reports: Report[] = [];
  private readonly accounted = new Set<Leaf>();

  constructor(
    raw: Buffer,
    private readonly tools: MailTools,
    private readonly keep: Keep,
  ) {
    const { limits, level, stage } = tools;
    stage('headers');
    this.anatomy = anatomyOf(raw, limits, () => stage('structure'));
    const { structure } = this.anatomy;
    const goesBeyond = structure.restFrom !== null || structure.tooDeep.length > 0;
    if (goesBeyond && !level.without.has('files')) throw new Refused(this.beyond());
  }

  async view(): Promise<View> {
    const header = this.readHeader();
    const { text, html } = await this.readBodies();
    await this.readParts();
    this.noteTheRest();
    for (const { code, where } of this.defects.list()) for (const field of lacking(code, where)) this.unread.add(field);
    const data = this.calendars.length + this.reports.length > 0;
    return {
      rung: 0,
      ...header,
      text,
      html,
      parts: this.parts.sort((a, b) => a.n - b.n),
      defects: this.defects.list(),
      setAside: this.setAside,
      unread: [...this.unread],
      blamed: [...this.tools.level.blamed],
      ...(data && { data: { calendars: this.calendars, reports: this.reports } }),
    };
  }

  private readHeader(): HeaderView {
    const { head, structure, raw, broken } = this.anatomy;
    checkHead(head, this.defects);
    checkHops(head, this.tools.limits.hops, this.defects);
    const fields = readFields(head, this.defects);
    this.tools.stage('checks');
    checkBody(raw, head, structure, broken, this.defects);
    return fields;
  }

  private beyond(): string {
    const { limits } = this.tools;
    return this.anatomy.structure.restFrom === null
      ? `its parts are nested deeper than ${limits.depth}`
      : `it has more than ${limits.parts} parts`;
  }

  async readBodies(): Promise<{ text: string | null; html: string | null }> {
    const { level, limits, stage } = this.tools;
    const texts = new BodyTexts(this.anatomy, limits, this.defects, stage);
    for (const { leaf, role } of rolesOf(this.anatomy)) {
      if (role !== 'text' && role !== 'html') continue;
      const why = this.whyLeftOut(leaf, role);
      if (why === null) await texts.add(leaf, !level.without.has('reflow'));
      else this.leaveOut(leaf, null, why, role);
      // Outside of multipart/alternative each is shown in the other form, too.
      if (why !== null && !leaf.alternative) for (const field of ['text', 'html'] as const) this.unread.add(field);
      this.accounted.add(leaf);
    }
    const { text, html, notMade } = texts.joined(!level.without.has('html_text'));
    for (const field of notMade) this.unread.add(field);
    // A mail of HTML alone has its text from it.
    if (text === null && this.unread.has('html')) this.unread.add('text');
    return { text, html };
  }

  private whyLeftOut(leaf: Leaf, role: Role): string | null {
    const { without, blamed } = this.tools.level;
    if (blamed.has(leaf.n)) return 'an earlier try stopped in it';
    return role === 'html' && without.has('html') ? 'HTML is left out on this rung' : null;
  }

  private leaveOut(leaf: Leaf, n: number | null, why: string, role: Role): void {
    this.setAside.push(setAsideLeaf(this.anatomy, leaf, n, why));
    // A thousand files that are only named are one defect.
    if (this.tools.level.blamed.has(leaf.n)) this.defects.add('part_set_aside', leaf.path);
    else this.defects.add('part_set_aside', role === 'html' ? 'html' : 'parts', why);
    for (const field of FIELDS_OF[role]) this.unread.add(field);
  }

  /** All leaves that are no body texts, in order; what they wrap comes after them. */
  async readParts(): Promise<void> {
    const { without, blamed } = this.tools.level;
    const parts = partsOf(this.anatomy);
    let next = parts.length + 1;
    for (const [i, { leaf, role }] of parts.entries()) {
      const n = i + 1;
      this.accounted.add(leaf);
      if (without.has('files') || blamed.has(leaf.n)) {
        const why = blamed.has(leaf.n) ? 'an earlier try stopped in it' : 'attachments are only named on this rung';
        this.leaveOut(leaf, n, why, role);
        continue;
      }
      next += await this.readPart(leaf, role, n, next);
    }
  }

  /** Answers how many parts it wrapped, numbered from `next` on. */
  private async readPart(leaf: Leaf, role: Role, n: number, next: number): Promise<number> {
    this.tools.stage('file', leaf.n);
    const bytes = bytesOf(this.anatomy, leaf);
    const part = partOf(n, leaf, bytes);
    this.keepIfWanted(part, bytes);
    const feature = WRAPPED.get(role);
    if (feature === undefined || this.tools.level.without.has(feature)) {
      this.parts.push(part);
      if (feature !== undefined) this.notLookedInto(leaf, role);
      return 0;
    }
    this.tools.stage(role as 'tnef' | 'calendar' | 'nested' | 'report', leaf.n);
    const room = this.tools.limits.parts - (next - 1);
    const wrapped = await unwrapped(role, { leaf, bytes, room, limits: this.tools.limits, defects: this.defects });
    this.parts.push({ ...part, ...(wrapped.message && { message: wrapped.message }) });
    this.take(wrapped, leaf, next);
    return wrapped.files.length;
  }

  private take({ files, calendar, report }: Wrapped, leaf: Leaf, next: number): void {
    if (calendar !== null) this.calendars.push(calendar);
    if (report !== null) this.reports.push(report);
    for (const [i, file] of files.entries()) {
      const part: Part = {
        n: next + i,
        path: `${leaf.path}/${file.path}`,
        name: file.name === null ? null : cleanFileName(file.name),
        type: typeOf(file.type ?? 'application/octet-stream'),
        size: file.bytes.length,
        sha256: hash('sha256', file.bytes),
        inline: false,
        contentId: file.contentId === null ? null : cleanLine(file.contentId, MAX_CONTENT_ID),
      };
      this.parts.push(part);
      this.keepIfWanted(part, file.bytes);
    }
  }

  private notLookedInto(leaf: Leaf, role: Role): void {
    this.defects.add('feature_set_aside', leaf.path);
    for (const field of FIELDS_OF[role]) this.unread.add(field);
  }

  private keepIfWanted(part: Part, bytes: Buffer): void {
    if (this.keep(part.n, part)) this.kept.set(part.n, { part, bytes });
  }

  /** What lies beyond the limit of parts, and any leaf that came nowhere, which would be a fault of ours. */
  private noteTheRest(): void {
    const { raw, structure } = this.anatomy;
    if (structure.restFrom !== null) {
      const rest = raw.subarray(structure.restFrom);
      this.setAside.push(setAsideBytes(rest, 'rest', `only ${this.tools.limits.parts} parts are read`));
      this.defects.add('too_many_parts', 'body');
    }
    for (const path of structure.tooDeep) this.defects.add('nesting_too_deep', path);
    const goesOn = structure.restFrom !== null || structure.tooDeep.length > 0;
    if (goesOn) for (const field of ['text', 'html', 'parts', 'data'] as const) this.unread.add(field);
    for (const leaf of structure.leaves) {
      if (this.accounted.has(leaf)) continue;
      this.defects.add('parts_disagree', leaf.path);
      this.leaveOut(leaf, null, 'nobody read it', 'file');
    }
  }
}

/** What a view may lack where there is such a defect. */
function lacking(code: string, where: string): readonly ViewField[] {
  switch (code) {
    case 'header_too_long':
    case 'too_many_parts':
    case 'nesting_too_deep':
      return where === 'header' ? ['headers', ...IN_BODY] : IN_BODY;
    case 'too_many_addresses':
      return ['headers'];
    case 'too_large':
      return where === 'text' ? ['text'] : where === 'html' ? ['html'] : IN_BODY;
    case 'html_too_deep':
      return ['text'];
    case 'tnef_broken':
      return ['parts', 'text'];
    case 'calendar_broken':
      return ['data'];
    default:
      return [];
  }
}

const IN_BODY: readonly ViewField[] = ['text', 'html', 'parts', 'data'];

/** What a view lacks where a leaf is left out, or not looked into. */
const FIELDS_OF: Readonly<Record<Role, readonly ViewField[]>> = {
  text: ['text'],
  html: ['html'],
  file: ['parts'],
  tnef: ['parts'],
  nested: ['parts', 'data'],
  calendar: ['parts', 'data'],
  report: ['parts', 'data'],
};

/** All leaves that are no body texts. */
function partsOf(anatomy: Anatomy): { readonly leaf: Leaf; readonly role: Role }[] {
  return rolesOf(anatomy).filter(({ role }) => role !== 'text' && role !== 'html');
}

const MAX_CONTENT_ID = 255;

function partOf(n: number, leaf: Leaf, bytes: Buffer): Part {
  return {
    n,
    path: leaf.path,
    name: leaf.name === null ? null : cleanFileName(leaf.name),
    type: typeOf(leaf.type),
    size: bytes.length,
    sha256: hash('sha256', bytes),
    inline: leaf.disposition === 'inline' || (leaf.disposition === null && leaf.contentId !== null),
    contentId: leaf.contentId === null ? null : cleanLine(leaf.contentId, MAX_CONTENT_ID),
  };
}

/** The header, and the first text as far as it goes, all by our own reader. */
function readText(raw: Buffer, tools: MailTools): View {
  tools.stage('headers');
  const defects = new DefectList();
  const anatomy = anatomyOf(raw, tools.limits, () => tools.stage('structure'));
  checkHead(anatomy.head, defects);
  const header = readFields(anatomy.head, defects);
  tools.stage('first_text');
  const { text, used } = firstText(anatomy, tools.limits, defects);
  const setAside: SetAside[] = [];
  let n = 0;
  for (const { leaf, role } of rolesOf(anatomy)) {
    const isPart = role !== 'text' && role !== 'html';
    if (isPart) n++;
    if (leaf === used) continue;
    setAside.push(setAsideLeaf(anatomy, leaf, isPart ? n : null, 'only the first text is read on this rung'));
  }
  const { restFrom } = anatomy.structure;
  if (restFrom !== null) setAside.push(setAsideBytes(raw.subarray(restFrom), 'rest', 'it has too many parts'));
  defects.add('body_set_aside', 'body', 'all but its first text is in the raw message only');
  const unread: ViewField[] = ['text', 'html', 'parts', 'data'];
  return { ...EMPTY_VIEW, ...header, text, defects: defects.list(), setAside, unread, blamed: [...tools.level.blamed] };
}

function readHeaders(raw: Buffer, tools: MailTools): View {
  tools.stage('headers');
  const defects = new DefectList();
  const head = readHead(raw, tools.limits);
  checkHead(head, defects);
  const header = readFields(head, defects);
  const body = raw.subarray(head.bodyStart);
  if (body.length > 0) defects.add('body_set_aside', 'body', `${body.length} bytes are in the raw message only`);
  const setAside = body.length > 0 ? [setAsideBytes(body, 'body', 'only the header is read on this rung')] : [];
  const unread: ViewField[] = body.length > 0 ? ['text', 'html', 'parts', 'data'] : [];
  return { ...EMPTY_VIEW, ...header, defects: defects.list(), setAside, unread };
}

function leftOut(raw: Buffer, code: 'envelope_only' | 'all_set_aside', unread: readonly ViewField[]): View {
  const defects = new DefectList();
  defects.add(code, 'message');
  const setAside = [setAsideBytes(raw, 'message', 'nothing of it is read on this rung')];
  return { ...EMPTY_VIEW, defects: defects.list(), setAside, unread };
}
