import { EMPTY_VIEW, type View } from '../../message/view.js';
import { defect } from '../defects.js';
import type { RungTools } from './rung.js';

/** Rung `poison`: nothing is read. A person decides what becomes of it. */
export function read(_raw: Buffer, tools: RungTools): View {
  return { ...EMPTY_VIEW, rung: tools.rung, defects: [defect('all_set_aside', 'message')] };
}
