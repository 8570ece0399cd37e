import { isKnownCharset } from './charset.js';
import type { DefectList } from './defects.js';
import type { Head } from './head.js';
import { isTnef } from './roles.js';
import type { Leaf, Structure } from './scan.js';

const LF = 0x0a;
const CR = 0x0d;

/** What is wrong with a header, apart from what its fields say. */
export function checkHead(head: Head, defects: DefectList): void {
  for (const line of head.malformed) defects.add('header_malformed', `line ${line}`);
  if (head.cut) defects.add('header_too_long', 'header');
  for (const field of head.fields) if (field.eightBit) defects.add('eight_bit_headers', field.name);
}

/** Whether a mail went through so many servers that it must be running in circles. */
export function checkHops(head: Head, most: number, defects: DefectList): void {
  const hops = head.fields.filter(({ name }) => name === 'received').length;
  if (hops > most) defects.add('too_many_hops', 'received');
}

/**
 * Looks through a mail's bytes and structure for damage that parsers pass over in silence. `broken`: the leaves whose
 * base64 is none. Each check reads every byte once at most.
 */
export function checkBody(
  raw: Buffer,
  head: Head,
  structure: Structure,
  broken: ReadonlySet<Leaf>,
  defects: DefectList,
): void {
  for (const { code, path } of structure.flaws) {
    if (code === 'boundary_missing' && path !== 'body') defects.add(code, path, 'kept as one part');
    else defects.add(code, path);
  }
  for (const path of structure.malformedHeads) defects.add('header_malformed', path);
  for (const path of structure.longHeads) defects.add('header_too_long', path);
  const nul = raw.indexOf(0);
  if (nul !== -1 && !isBinaryAt(structure, nul)) defects.add('nul', nul < head.bodyStart ? 'header' : 'body');
  if (mixesNewlines(raw, structure)) defects.add('bare_newline', 'message');
  for (const leaf of broken) defects.add('base64_broken', leaf.path);
  for (const leaf of structure.leaves) checkLeaf(leaf, defects);
}

function checkLeaf(leaf: Leaf, defects: DefectList): void {
  if (leaf.encoding === 'unknown') defects.add('encoding_unknown', leaf.path);
  if (isText(leaf) && leaf.charset !== null && !isKnownCharset(leaf.charset)) defects.add('charset_unknown', leaf.path);
  if (isTnef(leaf)) defects.add('tnef', leaf.path);
}

function isText(leaf: Leaf): boolean {
  return leaf.type.startsWith('text/');
}

function isBinaryAt(structure: Structure, offset: number): boolean {
  return structure.leaves.some((leaf) => leaf.binary && leaf.start <= offset && offset < leaf.end);
}

/** Whether lines end in CR LF here and in LF or CR there. All LF is how Unix keeps mail, and harmless. */
function mixesNewlines(raw: Buffer, structure: Structure): boolean {
  const first = raw.indexOf(LF);
  const wantsCr = first > 0 && raw[first - 1] === CR;
  let from = 0;
  for (const leaf of structure.leaves) {
    if (!leaf.binary) continue;
    if (hasOtherNewline(raw, from, leaf.start, wantsCr)) return true;
    from = leaf.end;
  }
  return hasOtherNewline(raw, from, raw.length, wantsCr);
}

function hasOtherNewline(raw: Buffer, from: number, to: number, wantsCr: boolean): boolean {
  for (let at = from; at < to; at++) {
    const byte = raw[at] as number;
    // Almost every byte is no line break; of those that are, the neighbour tells.
    if (byte > CR) continue;
    if (byte === LF ? (raw[at - 1] === CR) !== wantsCr : byte === CR && raw[at + 1] !== LF) return true;
  }
  return false;
}
