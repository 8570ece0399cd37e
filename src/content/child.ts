import { EVERYTHING } from './features.js';
import { makeSafe } from './html.js';
import { MAIL_LIMITS } from './limits.js';
import { readHtml, readMail, readPart } from './reader.js';
import { childSettings, serve } from './serve.js';
import { isNestedTooDeep } from './text.js';

/*
 * A child process of the pool: reads one message at a time, and may die of it. It has no network, no database and no
 * configuration; all it knows comes over its socket.
 */

/** Read once before the first message, so that what parsers load late is loaded. */
const WARM_UP = Buffer.from(
  'Subject: =?iso-8859-1?q?caf=E9?=\r\nContent-Type: text/html; charset=iso-8859-1\r\n\r\n<p>caf\xe9</p>\r\n',
  'latin1',
);

const settings = childSettings();
await readMail(WARM_UP, { level: EVERYTHING, limits: MAIL_LIMITS, stage: () => undefined });

// mailparser ends streams that have ended, and each time an error is made that nobody sees: without a stack that is
// cheap. A twentieth of the whole time went there.
Error.stackTraceLimit = 0;

await serve(
  {
    mail: readMail,
    part: readPart,
    async html(raw, tools) {
      const { html, pictures } = await readHtml(raw, tools);
      tools.stage('safe_html');
      if (html === null || isNestedTooDeep(html)) return { html: null, blocked: 0 };
      return makeSafe(html, pictures, tools.limits.pictureBytes);
    },
  },
  settings,
);
process.exit(0);
