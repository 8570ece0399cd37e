/*
 * A child that does, where everything is read, what the message's body tells it, to see what the pool makes of it.
 * Where less is read it is as good as the real one, unless the message says `always`.
 */
import { writeSync } from 'node:fs';
import { makeSafe } from '../../dist/src/content/html.js';
import { readMail } from '../../dist/src/content/reader.js';
import { childSettings, serve } from '../../dist/src/content/serve.js';
import { encodeAnswerHead, SOCKET_FD } from '../../dist/src/content/wire.js';
import { EMPTY_VIEW } from '../../dist/src/message/view.js';

const settings = childSettings();
const hoard = [];

const DEEDS = {
  exit: () => process.exit(3),
  segfault: () => process.kill(process.pid, 'SIGSEGV'),
  abort: () => process.abort(),
  throw: () => {
    throw new RangeError('no such thing');
  },
  throwLater: () => {
    setImmediate(() => {
      throw new Error('nobody catches this');
    });
    return new Promise(() => undefined);
  },
  loop: () => {
    for (;;);
  },
  never: () => new Promise(() => setInterval(() => undefined, 1_000)),
  hogBuffers: () => {
    for (;;) hoard.push(Buffer.alloc(1024 * 1024, hoard.length));
  },
  hogHeap: () => {
    for (;;) hoard.push({ text: `${hoard.length}`.repeat(10) });
  },
  /** Grows, within its limit, and answers. */
  grow: () => {
    hoard.push(Buffer.alloc(200 * 1024 * 1024, 1));
  },
  large: () => ({ text: 'x'.repeat(settings.answerBytes.parse) }),
  /** A view, and beside it what no words are. */
  wordless: () => {
    const json = Buffer.from(JSON.stringify(EMPTY_VIEW));
    const words = Buffer.from('no\0word');
    writeSync(
      SOCKET_FD,
      Buffer.concat([encodeAnswerHead({ kind: 'done', retires: false }, json.length, words.length), json, words]),
    );
    return new Promise(() => undefined);
  },
  /** An answer of no known kind. */
  babble: () => {
    writeSync(SOCKET_FD, Buffer.from([99, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    return new Promise(() => undefined);
  },
  /** An answer that says it is 4 GB long. */
  flood: () => {
    writeSync(SOCKET_FD, Buffer.alloc(64, 255));
    return new Promise(() => undefined);
  },
  nothing: () => undefined,
};

async function obey(raw, tools) {
  // What comes as a whole mail has it in its body.
  const [deed = '', stage = 'body', leaf = '0'] = raw.toString().split('\r\n\r\n').at(-1).trim().split(' ');
  tools.stage(stage, Number(leaf));
  const extra = await DEEDS[deed]?.();
  return { ...EMPTY_VIEW, pid: process.pid, deed, ...extra };
}

await serve(
  {
    mail: (raw, tools) => (tools.level.reader === 'whole' || raw.includes('always') ? obey : readMail)(raw, tools),
    part: async () => null,
    html: async (raw) => makeSafe(raw.toString(), new Map(), 0),
  },
  settings,
);
process.exit(0);
