import { Worker } from 'node:worker_threads';
import { type CompiledText, type RuleReading, rulesBusy } from '../../routes/rule-reading.js';
import { Turns } from '../../routes/turns.js';
import { compiling } from '../routing/compile.js';
import type { LintProblem } from '../routing/lint.js';
import type { Outline } from '../routing/outline.js';
import type { ParsedRuleSet, RuleProblem, TargetMention, TextPlace } from '../routing/parse.js';
import type { Rule } from '../routing/rule.js';
import type { Asked, Job, Piece } from './rules-thread.js';

/** In tests this file is TypeScript, which a thread can't be started from. */
function threadFile(): URL {
  const built = import.meta.url.endsWith('.ts') ? '../../dist/src/app/rules-thread.js' : './rules-thread.js';
  return new URL(built, import.meta.url);
}

interface RulesApartSettings {
  /** A text that takes longer to read is given up. */
  readonly limitMs?: number;
  /** A thread with nothing to do ends after this: it holds some 20 MB. */
  readonly idleMs?: number;
}

/** A megabyte of usual rules takes two seconds on an idle machine, one made to be slow ten. */
const LIMIT_MS = 20_000;
const IDLE_MS = 60_000;
/** Of one tenant, with the one that is being read. */
const MOST_EACH = 8;
/** The rules that were asked last: some megabytes each, of a megabyte of text. */
const MOST_COMPILED = 4;
/** What a thread may take for its work; a megabyte of rules takes a third of it. */
const HEAP_MB = 512;

const GIVEN_UP = Symbol('given up');

interface Waiting {
  readonly tenant: number;
  readonly job: Job;
  readonly done: (pieces: readonly Piece[] | typeof GIVEN_UP) => void;
}

export interface RulesApart extends RuleReading {
  close(): Promise<void>;
}

/** One thread that reads rules for all; tenants take turns, and each has one text under way. */
export function createRulesApart({ limitMs = LIMIT_MS, idleMs = IDLE_MS }: RulesApartSettings = {}): RulesApart {
  const waiting: Waiting[] = [];
  const compiled = new Map<string, CompiledText>();
  let thread: Worker | null = null;
  let current: { readonly waiting: Waiting; readonly pieces: Piece[]; readonly limit: NodeJS.Timeout } | null = null;
  let idle: NodeJS.Timeout | null = null;
  let lastTenant: number | null = null;

  function start(): Worker {
    const started = new Worker(threadFile(), { resourceLimits: { maxOldGenerationSizeMb: HEAP_MB } });
    // Whoever waits for an answer keeps the process alive by other means.
    started.unref();
    started.on('message', (piece: Piece) => {
      if (started === thread) take(piece);
    });
    // It had too little memory for the text, or could not be started: as good as too slow.
    started.on('error', () => {
      if (started === thread) giveUp();
    });
    return started;
  }

  function next(): void {
    if (current) return;
    const other = waiting.findIndex(({ tenant }) => tenant !== lastTenant);
    const [first] = waiting.splice(Math.max(other, 0), 1);
    if (!first) {
      idle ??= setTimeout(end, idleMs).unref();
      return;
    }
    if (idle) clearTimeout(idle);
    idle = null;
    lastTenant = first.tenant;
    thread ??= start();
    current = { waiting: first, pieces: [], limit: setTimeout(giveUp, limitMs).unref() };
    tell(first.job);
  }

  function tell(asked: Asked): void {
    thread?.postMessage(asked);
  }

  function take(piece: Piece): void {
    current?.pieces.push(piece);
    if (piece.of === 'result' || piece.of === 'parsed') settle(current?.pieces ?? []);
    else setImmediate(tell, { do: 'next' });
  }

  function giveUp(): void {
    end();
    settle(GIVEN_UP);
  }

  function settle(result: readonly Piece[] | typeof GIVEN_UP): void {
    if (!current) return;
    clearTimeout(current.limit);
    const { done } = current.waiting;
    current = null;
    done(result);
    next();
  }

  function end(): void {
    const ending = thread;
    thread = null;
    idle = null;
    void ending?.terminate();
  }

  function ask(tenant: number, job: Job): Promise<readonly Piece[] | typeof GIVEN_UP> {
    const own = waiting.filter((one) => one.tenant === tenant).length + (current?.waiting.tenant === tenant ? 1 : 0);
    if (own >= MOST_EACH) throw rulesBusy();
    return new Promise((done) => {
      waiting.push({ tenant, job, done });
      next();
    });
  }

  async function resultOf<T>(tenant: number, job: Job, otherwise: T): Promise<T> {
    const pieces = await ask(tenant, job);
    const [piece] = pieces === GIVEN_UP ? [] : pieces;
    return piece?.of === 'result' ? (piece.result as T) : otherwise;
  }

  async function parse(tenant: number, text: string): Promise<ParsedRuleSet> {
    const pieces = await ask(tenant, { do: 'parse', text });
    return pieces === GIVEN_UP ? { ok: false, problems: [TOO_SLOW], mentions: [] } : parsedOf(pieces);
  }

  return {
    parse,
    async compile(tenant, text) {
      const known = compiled.get(text);
      const read = known ?? (await compiledFrom(await parse(tenant, text)));
      compiled.delete(text);
      if (read.ok) compiled.set(text, read);
      const oldest = compiled.keys().next();
      if (compiled.size > MOST_COMPILED && !oldest.done) compiled.delete(oldest.value);
      return read;
    },
    lint: (tenant, text, targets) => resultOf<LintProblem[]>(tenant, { do: 'lint', text, targets }, [asProblem()]),
    outline: (tenant, text, most) => resultOf<Outline | null>(tenant, { do: 'outline', text, most }, null),
    insert: (tenant, text, rule, before) => resultOf(tenant, { do: 'insert', text, rule, before }, text),
    async close() {
      const ending = thread;
      end();
      for (const { done } of waiting.splice(0)) done(GIVEN_UP);
      settle(GIVEN_UP);
      await ending?.terminate();
    },
  };
}

const TOO_SLOW: RuleProblem = {
  line: 1,
  column: 1,
  path: '',
  message: 'these rules take too long to read: write fewer of them, or simpler regular expressions',
};

function asProblem(): LintProblem {
  const { line, column, message } = TOO_SLOW;
  return { severity: 'error', code: 'invalid', rule: null, line, column, message };
}

function parsedOf(pieces: readonly Piece[]): ParsedRuleSet {
  const rules: Rule[] = [];
  const mentions: TargetMention[] = [];
  const places = new Map<string, TextPlace>();
  for (const piece of pieces) {
    if (piece.of === 'rules') rules.push(...piece.items);
    else if (piece.of === 'mentions') mentions.push(...piece.items);
    else if (piece.of === 'places') for (const [name, place] of piece.items) places.set(name, place);
    else if (piece.of === 'parsed') {
      const { mode, problems } = piece;
      return mode === null
        ? { ok: false, problems, mentions }
        : { ok: true, ruleSet: { mode, rules }, mentions, places };
    }
  }
  return { ok: false, problems: [TOO_SLOW], mentions: [] };
}

async function compiledFrom(parsed: ParsedRuleSet): Promise<CompiledText> {
  return parsed.ok ? { ...parsed, compiled: await new Turns().run(compiling(parsed.ruleSet)) } : parsed;
}
