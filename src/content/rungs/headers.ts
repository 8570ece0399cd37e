import type { View } from '../../message/view.js';
import { checkHead } from '../checks.js';
import { DefectList } from '../defects.js';
import { readFields } from '../fields.js';
import { readHead } from '../head.js';
import type { RungTools } from './rung.js';

/** Rung `headers`: the header by our own linear reader. Nobody else's code sees the mail; its body stays in the raw bytes. */
export function read(raw: Buffer, tools: RungTools): View {
  tools.stage('headers');
  const defects = new DefectList();
  const head = readHead(raw, tools.limits);
  checkHead(head, defects);
  const fields = readFields(head, defects);
  const bytes = raw.length - head.bodyStart;
  if (bytes > 0) defects.add('body_set_aside', 'body', `${bytes} bytes are in the raw message only`);
  return { rung: tools.rung, ...fields, text: null, html: null, parts: [], defects: defects.list() };
}
