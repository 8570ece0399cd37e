/** What may run and load in the frame that shows a mail's HTML: nothing, but its own styles and pictures that came along. */
const FRAME_POLICY = [
  'sandbox allow-popups allow-popups-to-escape-sandbox',
  "default-src 'none'",
  "style-src 'unsafe-inline'",
  'img-src data:',
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'self'",
].join('; ');

export const FRAME_HEADERS: Readonly<Record<string, string>> = {
  'content-security-policy': FRAME_POLICY,
  'referrer-policy': 'no-referrer',
};

/** Mail is written for white paper, so the frame is white in the dark too; and for paper of one width, so widths give way. */
const STYLE = `
:root { color-scheme: light }
body { margin: 0; padding: 12px 16px; font: 15px/1.5 system-ui, sans-serif; color: #16191d; background: #fff; overflow-wrap: break-word }
img { max-width: 100%; height: auto }
img:not([src]) { display: none }
pre { white-space: pre-wrap }
table, div, p { min-width: 0 !important; max-width: 100% !important }
@media (width < 40rem) { table, tr, td, th { width: auto !important; height: auto !important } }
.waybill-note { margin: -12px -16px 12px; padding: 6px 16px; border-bottom: 1px solid #d9dde2; background: #f6f7f8; color: #4a525c; font-size: 13px }
`;

/** The document for the frame. `html` has been made safe; null where there is none or it could not be read. */
export function frameDocument(safe: { readonly html: string; readonly blocked: number } | null): string {
  const note = safe === null ? UNREADABLE : blockedNote(safe.blocked);
  const head = `<meta charset="utf-8"><title>The mail’s HTML</title><style>${STYLE}</style>`;
  const body = `${note === '' ? '' : `<p class="waybill-note">${note}</p>`}${safe?.html ?? ''}`;
  return `<!doctype html><html lang="und"><head>${head}</head><body>${body}</body></html>`;
}

const UNREADABLE = 'The HTML could not be read. The text and the raw message may say more.';

function blockedNote(blocked: number): string {
  if (blocked === 0) return '';
  return blocked === 1
    ? 'Waybill left out one thing that would have been fetched from elsewhere.'
    : `Waybill left out ${blocked.toLocaleString('en')} things that would have been fetched from elsewhere.`;
}
