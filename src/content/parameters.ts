/** A field such as Content-Type: `text/plain; charset="utf-8"`. Names and value in lower case, parameters as written. */
export interface Structured {
  readonly value: string;
  readonly parameters: ReadonlyMap<string, string>;
}

/** How many parameters of one field are read. */
const MAX_PARAMETERS = 1_000;

/** Reads a value and its parameters. Linear in the length; the first of equal names wins. */
export function readStructured(text: string): Structured {
  const parameters = new Map<string, string>();
  const first = text.indexOf(';');
  const [value = ''] = (first === -1 ? text : text.slice(0, first)).split('(', 1);
  let at = first === -1 ? text.length : first + 1;
  while (at < text.length && parameters.size < MAX_PARAMETERS) {
    const { name, value: written, end } = parameterAt(text, at);
    if (name !== '' && !parameters.has(name)) parameters.set(name, written);
    at = end;
  }
  return { value: value.trim().toLowerCase(), parameters };
}

/** A parameter, put together where RFC 2231 cut it in pieces (`boundary*0=…; boundary*1=…`). */
export function parameter({ parameters }: Structured, name: string): string | undefined {
  const whole = parameters.get(name) ?? parameters.get(`${name}*`);
  if (whole !== undefined) return whole;
  const pieces: string[] = [];
  for (let n = 0; n < MAX_PARAMETERS; n++) {
    const piece = parameters.get(`${name}*${n}`) ?? parameters.get(`${name}*${n}*`);
    if (piece === undefined) break;
    pieces.push(piece);
  }
  return pieces.length === 0 ? undefined : pieces.join('');
}

function parameterAt(text: string, from: number): { name: string; value: string; end: number } {
  let at = from;
  while (at < text.length && text[at] !== '=' && text[at] !== ';') at++;
  const name = text.slice(from, at).trim().toLowerCase();
  if (text[at] !== '=') return { name, value: '', end: at + 1 };
  const pieces: string[] = [];
  for (at++; at < text.length && text[at] !== ';'; ) {
    const end = text[at] === '"' ? quotedEnd(text, at) : plainEnd(text, at);
    pieces.push(text[at] === '"' ? unquoted(text.slice(at + 1, end)) : text.slice(at, end).trim());
    at = text[at] === '"' ? end + 1 : end;
  }
  return { name, value: pieces.join(''), end: at + 1 };
}

function plainEnd(text: string, from: number): number {
  let at = from;
  while (at < text.length && text[at] !== ';' && text[at] !== '"') at++;
  return at;
}

/** Where the quote that stands at `from` closes, or the end. */
function quotedEnd(text: string, from: number): number {
  let at = from + 1;
  while (at < text.length && text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
  return Math.min(at, text.length);
}

function unquoted(text: string): string {
  return text.replace(/\\(.)/g, '$1');
}
