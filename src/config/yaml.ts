import { type ErrorCode, isAlias, isMap, isScalar, LineCounter, type Node, parseDocument, type YAMLError } from 'yaml';
import { tooDeep } from '../routing/nesting.js';
import type { FilePlace, Problem, ProblemCode } from './problem.js';
import { interpolate, type Variables } from './variables.js';

/** Aliases can multiply a small file without end, so what they stand for is counted each time it is used. */
const MOST_VALUES = 20_000;
const DEEPEST_NESTING = 32;

/** What PostgreSQL can't hold: escapes such as "\0" and "\ud800" write it, and variables may hold it. */
const UNSTORABLE = /[\0\p{Cs}]/u;

const TOO_DEEP = 'the values are nested too deeply';

export type Path = readonly (string | number)[];

interface Mark {
  readonly key: number;
  readonly value: number;
  /** The variable that the value was taken from, wholly or in part. */
  readonly variable: string | null;
}

/** A YAML file as plain values. A key whose value is empty (`smtp:` with nothing behind it) is as if it weren't there. */
export interface Reading {
  readonly value: Record<string, unknown>;
  readonly places: Places;
  readonly problems: readonly Problem[];
}

/** Where each value of a file stands. */
export class Places {
  readonly #marks = new Map<string, Mark>();

  constructor(
    private readonly file: string,
    private readonly lines: LineCounter,
  ) {}

  mark(path: Path, mark: Mark): void {
    this.#marks.set(JSON.stringify(path), mark);
  }

  /** The place of the key, or of the nearest thing around it that is in the file. */
  key(path: Path): FilePlace {
    return this.at(this.#near(path).key);
  }

  /** The place of the value; of what should hold it where it is missing. */
  value(path: Path): FilePlace {
    const exact = this.#marks.get(JSON.stringify(path));
    return exact ? this.at(exact.value) : this.key(path);
  }

  has(path: Path): boolean {
    return this.#marks.has(JSON.stringify(path));
  }

  variable(path: Path): string | null {
    return this.#marks.get(JSON.stringify(path))?.variable ?? null;
  }

  at(offset: number): FilePlace {
    const { line, col } = this.lines.linePos(offset);
    // An empty file has no line 1 yet.
    return { file: this.file, line: Math.max(1, line), column: Math.max(1, col) };
  }

  #near(path: Path): Mark {
    for (let length = path.length; length >= 0; length -= 1) {
      const mark = this.#marks.get(JSON.stringify(path.slice(0, length)));
      if (mark) return mark;
    }
    return { key: 0, value: 0, variable: null };
  }
}

export function pathText(path: Path): string {
  return path.map((step, n) => (typeof step === 'number' ? `[${step}]` : n === 0 ? step : `.${step}`)).join('');
}

/** Reads a file's text; every problem is reported, and what can be read of the rest is read. */
export function readYaml(text: string, file: string, variables: Variables): Reading {
  const deep = tooDeep(text, DEEPEST_NESTING);
  if (deep) {
    const problem = {
      severity: 'error',
      code: 'yaml_too_large',
      place: { file, ...deep },
      path: '',
      message: TOO_DEEP,
    } as const;
    return { ...emptyReading(file), problems: [problem] };
  }
  const lines = new LineCounter();
  // Repeated keys are found below, in time that grows with the file and not with its square.
  const document = parseDocument(text, {
    lineCounter: lines,
    prettyErrors: false,
    uniqueKeys: false,
    stringKeys: true,
    resolveKnownTags: false,
    // Nothing is written to the console, and (unlike with 'silent') a second document is a mistake.
    logLevel: 'error',
  });
  const places = new Places(file, lines);
  const problems = firstOfEachLine([...document.errors, ...document.warnings], lines).map(
    ({ code, pos }): Problem => ({
      severity: 'error',
      code: 'yaml_malformed',
      place: places.at(pos[0]),
      path: '',
      message: YAML_MISTAKES[code],
    }),
  );
  if (problems.length > 0) return { value: {}, places, problems };
  if (document.contents !== null && !isMap(document.contents)) {
    report('value_invalid', [], 0, 'the file must be a group of keys and values');
    return { value: {}, places, problems };
  }

  let values = 0;
  const anchors = new Map<string, Node>();

  function report(code: ProblemCode, path: Path, offset: number, message: string): undefined {
    problems.push({ severity: 'error', code, place: places.at(offset), path: pathText(path), message });
    return undefined;
  }

  function read(node: Node | null, path: Path, keyOffset: number | null): unknown {
    if (node === null) return undefined;
    const offset = node.range?.[0] ?? 0;
    values += 1;
    if (values === MOST_VALUES)
      return report('yaml_too_large', path, offset, 'the file has too many values; aliases count each time');
    if (values > MOST_VALUES) return undefined;
    if (path.length > DEEPEST_NESTING) return report('yaml_too_large', path, offset, TOO_DEEP);
    places.mark(path, { key: keyOffset ?? offset, value: offset, variable: null });
    if ('anchor' in node && node.anchor) anchors.set(node.anchor, node);
    if (isAlias(node)) {
      const meant = anchors.get(node.source);
      if (!meant) return report('yaml_malformed', path, offset, YAML_MISTAKES.BAD_ALIAS);
      return read(meant, path, keyOffset ?? offset);
    }
    if (isScalar(node)) return readScalar(node.value, path, keyOffset ?? offset, offset);
    return isMap(node) ? readMap(node.items, path) : readList(node, path);
  }

  function readScalar(value: unknown, path: Path, key: number, offset: number): unknown {
    if (value === null) return undefined;
    if (typeof value !== 'string') return value;
    const { text: replaced, names, problems: found } = interpolate(value, variables);
    for (const { code, message } of found) report(code, path, offset, message);
    if (UNSTORABLE.test(replaced))
      return report('value_invalid', path, offset, 'must be text without NUL and half surrogates');
    places.mark(path, { key, value: offset, variable: names.length > 0 ? names.join(', ') : null });
    // What is missing is reported already; a second complaint about the empty text in its place would mislead.
    return found.length > 0 ? undefined : replaced;
  }

  function readMap(pairs: readonly { key: unknown; value: unknown }[], path: Path): Record<string, unknown> {
    const map: Record<string, unknown> = {};
    const seen = new Set<string>();
    for (const pair of pairs) {
      const key = isScalar(pair.key) ? String(pair.key.value) : '';
      const offset = (pair.key as Node).range?.[0] ?? 0;
      if (seen.has(key)) report('key_repeated', [...path, key], offset, 'this key is there twice; only one can count');
      else if (key === '__proto__') report('key_unknown', [...path, key], offset, 'unknown key');
      // An empty value stays as undefined: the key may be unknown even so.
      else map[key] = read(pair.value as Node | null, [...path, key], offset);
      seen.add(key);
    }
    return map;
  }

  function readList(node: Node, path: Path): unknown[] {
    const items = 'items' in node ? (node.items as Node[]) : [];
    return items.map((item, n) => read(item, [...path, n], null));
  }

  const value = document.contents === null ? {} : readMap(document.contents.items, []);
  return { value, places, problems };
}

/** What comes after it on the line mostly comes of it. */
function firstOfEachLine(mistakes: readonly YAMLError[], lines: LineCounter): YAMLError[] {
  const first = new Map<number, YAMLError>();
  for (const mistake of [...mistakes].sort((a, b) => a.pos[0] - b.pos[0])) {
    const { line } = lines.linePos(mistake.pos[0]);
    if (!first.has(line)) first.set(line, mistake);
  }
  return [...first.values()];
}

/** What is read where there is no file. */
export function emptyReading(file: string): Reading {
  return { value: {}, places: new Places(file, new LineCounter()), problems: [] };
}

/** In our own words: the parser's messages may quote the file, and a file may hold secrets. */
const YAML_MISTAKES: Readonly<Record<ErrorCode, string>> = {
  ALIAS_PROPS: 'an alias (*name) takes no anchor or tag of its own',
  BAD_ALIAS: 'this alias (*name) names no anchor (&name) before it; text that begins with * needs quotes',
  BAD_COLLECTION_TYPE: 'the tag does not fit what follows it',
  BAD_DIRECTIVE: 'a line that begins with % is a directive that is not known; text that begins with % needs quotes',
  BAD_DQ_ESCAPE: 'an unknown escape after a backslash; in single quotes a backslash is just a backslash',
  BAD_INDENT: 'the indentation does not fit the lines around it, or a bracket or brace is not closed',
  BAD_PROP_ORDER: 'anchors and tags stand before the value, on its line',
  BAD_SCALAR_START: 'text that begins with this character needs quotes',
  BLOCK_AS_IMPLICIT_KEY:
    'a key and a value, and then another colon on the same line; text with ": " in it needs quotes',
  BLOCK_IN_FLOW: 'inside { } or [ ] values are written with commas, not with dashes or indentation',
  DUPLICATE_KEY: 'this key is there twice; only one can count',
  IMPOSSIBLE: 'this is not YAML',
  KEY_OVER_1024_CHARS: 'a key is longer than 1024 characters',
  MISSING_CHAR: 'something is missing here: a closing quote, bracket, brace, comma or colon',
  MULTILINE_IMPLICIT_KEY: 'a key goes over several lines; a colon or a quote may be missing',
  MULTIPLE_ANCHORS: 'a value has one anchor at most',
  MULTIPLE_DOCS: 'a second document begins here (---); everything belongs in one',
  MULTIPLE_TAGS: 'a value has one tag at most',
  NON_STRING_KEY: 'a key must be plain text',
  RESOURCE_EXHAUSTION: TOO_DEEP,
  TAB_AS_INDENT: 'a tab is used as indentation; use spaces',
  TAG_RESOLVE_FAILED: 'tags such as !name are not used here; text that begins with ! needs quotes',
  // biome-ignore lint/suspicious/noTemplateCurlyInString: this is the syntax that is meant
  UNEXPECTED_TOKEN: 'this does not belong here; text with special characters, such as ${NAME} within { }, needs quotes',
};
