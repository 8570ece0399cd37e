import { MailParser, type MailParserOptions, type MessageText } from 'mailparser';

/** Settings that mailparser hands on to its splitter; its types leave them out. */
interface Options extends MailParserOptions {
  readonly ignoreEmbedded: true;
}

/** Nothing but the decoding: what a body is made of, and what is made of it, is decided here. */
const OPTIONS: Options = {
  skipImageLinks: true,
  skipTextLinks: true,
  skipTextToHtml: true,
  skipHtmlToText: true,
  ignoreEmbedded: true,
};

/**
 * Reads the bytes of one body text in its character set, with mailparser. It is shown a mail of this one text with a
 * header and a transfer encoding of ours, so that nothing else of the mail can stop it, and its death is this text's
 * (its own quoted-printable takes 3 s for 50 kB of blanks). `charset` must be a known one. Rejects with what mailparser
 * fails with; it may also never settle, and its caller must be ready for that.
 */
export function parseBody(bytes: Buffer, type: string, charset: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const parser = new MailParser(OPTIONS);
    let body: MessageText | null = null;
    parser.on('error', reject);
    parser.on('data', (data: { readonly type: string }) => {
      if (data.type === 'text') body = data as MessageText;
    });
    parser.on('end', () => {
      const html = typeof body?.html === 'string' ? body.html : '';
      resolve((type === 'text/html' ? html : body?.text) ?? '');
    });
    parser.write(`Content-Type: ${type}; charset="${charset}"\r\nContent-Transfer-Encoding: base64\r\n\r\n`);
    parser.end(bytes.toString('base64'));
  });
}
