import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, onTestFinished } from 'vitest';
import { startContent } from '../../src/content/children.js';
import {
  type ChildState,
  type Content,
  ContentClosed,
  ContentUnavailable,
  type ParseResult,
} from '../../src/content/content.js';
import { EVERYTHING } from '../../src/content/features.js';
import type { Clock } from '../../src/message/clock.js';
import { realClock, settableClock } from '../support/clock.js';
import { silent } from '../support/log.js';
import { until } from '../support/until.js';
import { HOSTILE, parseOn, poolOf, rungOf } from './pool.js';

const MEGABYTE = 1024 * 1024;

function tell(content: Content, words: string): Promise<ParseResult> {
  return parseOn(content, 'full', Buffer.from(words));
}

/** What has failed before. */
function tellAsSuspect(content: Content, words: string): Promise<ParseResult> {
  return parseOn(content, 'full', Buffer.from(words), { suspect: true });
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    // A zombie still takes signals.
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'latin1'));
  } catch {
    return false;
  }
}

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

function pidsOf(content: Content): number[] {
  return content.children().flatMap(({ pid, isolated }) => (isolated ? [] : [pid as number]));
}

/** The place that suspects alone get. */
function isolated(content: Content): { readonly state: ChildState; readonly pid: number | null } | undefined {
  return content.children().find((place) => place.isolated);
}

describe('a message that kills its child', () => {
  it.each([
    ['exit structure', 'crashed', 'structure', null],
    ['segfault file 3', 'crashed', 'file', 3],
    ['throwLater body', 'crashed', 'body', null],
    ['babble answer', 'crashed', 'answer', null],
    ['flood answer', 'output_too_large', 'answer', null],
    ['abort html_text', 'killed_memory', 'html_text', null],
  ] as const)('%s: is a failure of that message, with the stage it had begun', async (words, failure, stage, leaf) => {
    const content = await poolOf({ entry: HOSTILE });
    const [before] = pidsOf(content);
    expect(await tell(content, words)).toMatchObject({ ok: false, failure, stage, leaf });
    expect(await tell(content, 'nothing')).toMatchObject({ ok: true, view: { deed: 'nothing' } });
    expect(pidsOf(content)[0]).not.toBe(before);
  });

  it('is ended when it takes too long, in a loop or waiting for ever', async () => {
    const content = await poolOf({ entry: HOSTILE, limits: { timeMs: 300 } });
    expect(await tell(content, 'loop headers')).toMatchObject({ failure: 'killed_time', stage: 'headers' });
    expect(await tell(content, 'never body')).toMatchObject({ failure: 'killed_time', stage: 'body' });
  });

  it('is ended for the processor time it takes, on however slow a clock', async () => {
    const content = await poolOf({ entry: HOSTILE, limits: { timeMs: 100 }, clock: settableClock() });
    expect(await tell(content, 'loop body 2')).toEqual({
      ok: false,
      failure: 'killed_time',
      stage: 'body',
      leaf: 2,
      reason: 'not done after 100 ms of processor time',
      child: expect.any(Number),
    });
  });

  it('has ten times as long where it only waits', async () => {
    // Enough for a child that has just been started, on a machine that does much else.
    const content = await poolOf({ entry: HOSTILE, limits: { timeMs: 250 } });
    const before = performance.now();
    expect(await tell(content, 'never body')).toMatchObject({ failure: 'killed_time' });
    expect(performance.now() - before).toBeGreaterThan(2_250);
  });

  it('may take as much again on a lower rung', async () => {
    const content = await poolOf({ entry: HOSTILE, limits: { timeMs: 300 } });
    const raw = Buffer.from('Subject: hi\r\n\r\nloop body');
    expect(await parseOn(content, 'headers', raw)).toMatchObject({
      ok: true,
      view: { rung: rungOf('headers'), subject: 'hi', text: null },
    });
  });

  it.each(['hogBuffers body', 'hogHeap body'])('%s: is ended when it takes too much memory', async (words) => {
    const content = await poolOf({ entry: HOSTILE, limits: { memoryBytes: 160 * MEGABYTE, timeMs: 20_000 } });
    expect(await tell(content, words)).toMatchObject({ ok: false, failure: 'killed_memory', stage: 'body' });
    expect(await tell(content, 'nothing')).toMatchObject({ ok: true });
  });

  it('leaves those beside it alone', async () => {
    const content = await poolOf({ entry: HOSTILE, children: 2, limits: { timeMs: 1_000 } });
    const bomb = tell(content, 'loop body');
    const others = await Promise.all(Array.from({ length: 50 }, () => tell(content, 'nothing')));
    expect(others.filter(({ ok }) => ok)).toHaveLength(50);
    expect(await bomb).toMatchObject({ ok: false, failure: 'killed_time' });
  });

  it('is the only one that fails among many', async () => {
    const content = await poolOf({ entry: HOSTILE, children: 2 });
    const words = Array.from({ length: 60 }, (_, i) => (i % 20 === 7 ? 'exit body' : 'nothing'));
    const results = await Promise.all(words.map((each) => tell(content, each)));
    expect(results.map(({ ok }) => ok)).toEqual(words.map((each) => each === 'nothing'));
  });
});

describe('a message that harms nobody', () => {
  it('fails without a death when its parser throws', async () => {
    const content = await poolOf({ entry: HOSTILE });
    const before = pidsOf(content);
    expect(await tell(content, 'throw checks')).toMatchObject({
      failure: 'crashed',
      stage: 'checks',
      reason: 'RangeError: no such thing',
    });
    expect(pidsOf(content)).toEqual(before);
  });

  it('keeps its view, and writes it anew, when what comes beside it are no words', async () => {
    const content = await poolOf({ entry: HOSTILE });
    const told = await tell(content, 'nothing');
    expect(told).toMatchObject({ ok: true, written: { words: '' } });
    const result = await tell(content, 'wordless');
    expect(result).toMatchObject({ ok: true, view: { rung: 0 } });
    expect(result).not.toHaveProperty('written');
  });

  it('fails without a death when its view would be too large', async () => {
    const content = await poolOf({ entry: HOSTILE, limits: { outputBytes: 10_000 } });
    const before = pidsOf(content);
    expect(await tell(content, 'large')).toMatchObject({ failure: 'output_too_large', stage: 'answer' });
    expect(pidsOf(content)).toEqual(before);
  });

  it('does not pay for what the one before it left in memory: a child that has grown is replaced', async () => {
    const content = await poolOf({ entry: HOSTILE, limits: { memoryBytes: 360 * MEGABYTE } });
    const [before] = pidsOf(content);
    expect(await tell(content, 'grow')).toMatchObject({ ok: true });
    expect(await tell(content, 'nothing')).toMatchObject({ ok: true });
    expect(pidsOf(content)[0]).not.toBe(before);
  });

  it('is not ended by what a terminal tells all of its processes', async () => {
    const content = await poolOf({ entry: HOSTILE });
    const before = pidsOf(content);
    for (const pid of before) process.kill(pid, 'SIGINT');
    expect(await tell(content, 'nothing')).toMatchObject({ ok: true });
    expect(pidsOf(content)).toEqual(before);
  });

  it('does not cost a warm child where children have little memory', async () => {
    const content = await poolOf({ limits: { memoryBytes: 140 * MEGABYTE } });
    const before = pidsOf(content);
    const raw = Buffer.from('Subject: hi\r\n\r\nhello');
    for (let i = 0; i < 5; i++) expect(await parseOn(content, 'full', raw)).toMatchObject({ ok: true });
    expect(pidsOf(content)).toEqual(before);
  });
});

const RESTING = { state: 'resting', pid: null, isolated: false };
const ASLEEP = { state: 'asleep', pid: null, isolated: true };

describe('places of dead children', () => {
  it('are filled at once after a first death, and later and later after more in a row', async () => {
    const clock = settableClock();
    let looks = 0;
    const monotonic = () => {
      looks++;
      return clock.monotonic();
    };
    const watched: Clock = { now: clock.now, monotonic };
    const content = await poolOf({ entry: HOSTILE, clock: watched });
    expect(await tell(content, 'exit body')).toMatchObject({ failure: 'crashed' });
    expect(await tell(content, 'exit body')).toMatchObject({ failure: 'crashed' });
    const waiting = tell(content, 'nothing');
    expect(content.children()).toEqual([RESTING, ASLEEP]);
    clock.advance(99);
    const before = looks;
    await until(() => looks > before + 2, 'the pool to look at its places');
    expect(content.children()).toEqual([RESTING, ASLEEP]);
    clock.advance(1);
    expect(await waiting).toMatchObject({ ok: true });
    // What was read in between sets the count back.
    expect(await tell(content, 'exit body')).toMatchObject({ failure: 'crashed' });
    expect(await tell(content, 'nothing')).toMatchObject({ ok: true });
  });
});

describe('children that do not start', () => {
  it('make the start fail, with what they complained of', async () => {
    const entry = new URL('./no-such-child.mjs', import.meta.url);
    const start = startContent({ children: 1, log: silent, clock: realClock, entry });
    await expect(start).rejects.toThrow(ContentUnavailable);
    await expect(start).rejects.toThrow(/no-such-child/);
  });
});

describe('the queue', () => {
  it('is bounded: what is too much is answered at once, and is not the message’s fault', async () => {
    const content = await poolOf({ entry: HOSTILE, limits: { queue: 2, timeMs: 500 } });
    const busy = tell(content, 'loop body');
    const waiting = [tell(content, 'nothing'), tell(content, 'nothing')];
    expect(await tell(content, 'nothing')).toMatchObject({ ok: false, failure: 'unavailable', stage: 'queued' });
    await busy;
    expect((await Promise.all(waiting)).every(({ ok }) => ok)).toBe(true);
  });

  it('is bounded in bytes as well, but for one that waits alone', async () => {
    const content = await poolOf({ entry: HOSTILE, limits: { queueBytes: 10, timeMs: 500 } });
    const busy = tell(content, 'loop body');
    const alone = tell(content, 'nothing');
    expect(await tell(content, 'nothing')).toMatchObject({ ok: false, failure: 'unavailable', stage: 'queued' });
    await busy;
    expect((await alone).ok).toBe(true);
  });

  it('lets people before the stream', async () => {
    const content = await poolOf({ entry: HOSTILE, limits: { timeMs: 500 } });
    const order: string[] = [];
    const busy = tell(content, 'loop body');
    const stream = tell(content, 'nothing').then(() => order.push('stream'));
    const person = content.safeHtml({ raw: Buffer.from('<p>hi'), level: EVERYTHING }).then(() => order.push('person'));
    await Promise.all([busy, stream, person]);
    expect(order).toEqual(['person', 'stream']);
  });
});

describe('suspects', () => {
  it('have a child of their own, which is there only when there are any', async () => {
    const content = await poolOf({ entry: HOSTILE });
    expect(content.children()).toHaveLength(2);
    expect(isolated(content)).toEqual(ASLEEP);
    const [fresh] = pidsOf(content);
    const result = await tellAsSuspect(content, 'nothing');
    expect(result).toMatchObject({ ok: true, view: { pid: isolated(content)?.pid } });
    expect(isolated(content)?.pid).not.toBe(fresh);
    expect(pidsOf(content)).toEqual([fresh]);
  });

  it('hold up no fresh mail, nor a person', async () => {
    const content = await poolOf({ entry: HOSTILE, limits: { timeMs: 1_000 } });
    const order: string[] = [];
    const suspects = Promise.all([tellAsSuspect(content, 'loop body'), tellAsSuspect(content, 'nothing')]);
    const ends = suspects.then(() => order.push('suspects'));
    expect(await tell(content, 'nothing')).toMatchObject({ ok: true });
    expect(await content.safeHtml({ raw: Buffer.from('<p>hi'), level: EVERYTHING })).toMatchObject({ ok: true });
    order.push('fresh');
    await ends;
    expect(order).toEqual(['fresh', 'suspects']);
    expect(await suspects).toMatchObject([{ failure: 'killed_time' }, { ok: true }]);
  });

  it('are not held up by fresh mail, and are read one after another', async () => {
    // A clock that stands still ends nothing that waits.
    const content = await poolOf({ entry: HOSTILE, clock: settableClock() });
    const busy = tell(content, 'never body');
    const results = await Promise.all([1, 2, 3].map(() => tellAsSuspect(content, 'nothing')));
    const pids = results.map((result) => result.ok && (result.view as unknown as { pid: number }).pid);
    expect(new Set(pids).size).toBe(1);
    expect(content.children()[0]?.state).toBe('busy');
    await Promise.all([expect(busy).rejects.toThrow(ContentClosed), content.close()]);
  });

  it('wait in a queue of their own', async () => {
    const content = await poolOf({ entry: HOSTILE, limits: { queue: 1, timeMs: 300 } });
    const first = tellAsSuspect(content, 'loop body');
    expect(await tellAsSuspect(content, 'nothing')).toMatchObject({ failure: 'unavailable', stage: 'queued' });
    expect(await tell(content, 'nothing')).toMatchObject({ ok: true });
    expect(await first).toMatchObject({ failure: 'killed_time' });
  });

  it('that kill their child leave its place asleep, or resting when they do so again and again', async () => {
    const content = await poolOf({ entry: HOSTILE });
    for (let i = 0; i < 3; i++) {
      expect(await tellAsSuspect(content, 'exit body 2')).toMatchObject({ failure: 'crashed', stage: 'body', leaf: 2 });
      expect(isolated(content)?.state).toBe(i === 0 ? 'asleep' : 'resting');
    }
    expect(await tellAsSuspect(content, 'nothing')).toMatchObject({ ok: true });
  });

  it('that die do not make the places of others rest', async () => {
    const content = await poolOf({ entry: HOSTILE });
    for (let i = 0; i < 3; i++) await tellAsSuspect(content, 'exit body');
    expect(await tell(content, 'exit body')).toMatchObject({ failure: 'crashed' });
    expect(content.children()[0]?.state).toBe('starting');
  });

  it('have their child ended when there were none for a while', async () => {
    const clock = settableClock();
    const content = await poolOf({ entry: HOSTILE, clock });
    await tellAsSuspect(content, 'nothing');
    const pid = isolated(content)?.pid as number;
    clock.advance(30_000);
    expect(await tellAsSuspect(content, 'nothing')).toMatchObject({ ok: true, view: { pid } });
    clock.advance(30_001);
    await until(() => isolated(content)?.state === 'asleep', 'the child to end');
    expect(exists(pid)).toBe(false);
  });
});

describe('close', () => {
  it('ends every child, idle, busy and starting, leaves no zombie, and rejects what is under way', async () => {
    const content = await poolOf({ entry: HOSTILE, children: 3 });
    const pids = pidsOf(content);
    const busy = tell(content, 'loop body');
    const dying = tell(content, 'exit body');
    await dying;
    const closed = content.close();
    await expect(busy).rejects.toThrow(ContentClosed);
    await closed;
    expect(pids.filter(exists)).toEqual([]);
    expect(content.children().map(({ state }) => state)).toEqual(['ended', 'ended', 'ended', 'ended']);
    await expect(tell(content, 'nothing')).rejects.toThrow(ContentClosed);
    await expect(content.close()).resolves.toBeUndefined();
  });

  it('leaves no child behind when its parent is killed, not even one in an endless loop', async () => {
    const parent = spawn(process.execPath, [fileURLToPath(new URL('./parent.mjs', import.meta.url)), HOSTILE.href], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    onTestFinished(() => void parent.kill('SIGKILL'));
    const line = await new Promise<string>((resolve) => parent.stdout.once('data', (chunk) => resolve(String(chunk))));
    const pids = JSON.parse(line) as number[];
    expect(pids).toHaveLength(2);
    expect(pids.every(isAlive)).toBe(true);
    parent.kill('SIGKILL');
    await until(() => !pids.some(isAlive), 'the orphans to end');
  });
});
