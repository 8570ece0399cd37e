import { hash } from 'node:crypto';
import type { SetAside } from '../message/view.js';
import { brokenBase64 } from './base64.js';
import { cleanFileName, cleanLine } from './clean.js';
import type { Head } from './head.js';
import { readHead } from './head.js';
import type { MailLimits } from './limits.js';
import { type Role, roleOf } from './roles.js';
import { type Leaf, type Structure, scanStructure } from './scan.js';
import { decodedLeaf } from './transfer.js';

/** A mail's header and parts as our own linear reader finds them, decoded by nobody yet. */
export interface Anatomy {
  readonly raw: Buffer;
  readonly head: Head;
  readonly structure: Structure;
  /** Leaves whose base64 is none. */
  readonly broken: ReadonlySet<Leaf>;
}

export function anatomyOf(raw: Buffer, limits: MailLimits, onStructure: () => void = () => undefined): Anatomy {
  const head = readHead(raw, limits);
  onStructure();
  const structure = scanStructure(raw, head, limits);
  return { raw, head, structure, broken: brokenBase64(raw, structure) };
}

/** Leaves with what each is to a view. */
export function rolesOf({ structure }: Anatomy): { readonly leaf: Leaf; readonly role: Role }[] {
  return structure.leaves.map((leaf) => ({ leaf, role: roleOf(leaf) }));
}

export function bytesOf({ raw, broken }: Anatomy, leaf: Leaf): Buffer {
  return decodedLeaf(raw, leaf, broken.has(leaf));
}

/** What a view says of a leaf that it leaves out. `n`: its number as a part, where it has one. */
export function setAsideLeaf({ raw }: Anatomy, leaf: Leaf, n: number | null, why: string): SetAside {
  return {
    ...setAsideBytes(raw.subarray(leaf.start, leaf.end), leaf.path, why),
    n,
    name: leaf.name === null ? null : cleanFileName(leaf.name),
    type: typeOf(leaf.type),
  };
}

export function setAsideBytes(bytes: Buffer, where: string, why: string): SetAside {
  return { where, n: null, name: null, type: null, size: bytes.length, sha256: hash('sha256', bytes), why };
}

const MAX_TYPE = 128;

/** A media type as views show it. */
export function typeOf(type: string): string {
  return cleanLine(type, MAX_TYPE).toLowerCase();
}
