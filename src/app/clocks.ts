import type { Logger } from 'pino';
import type { Clock } from '../message/clock.js';
import type { OtherClock } from '../storage/clock.js';

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const DAY = 24 * 60 * MINUTE;
/** Clocks that differ by more than this are wrong. */
const MOST_APART_MS = MINUTE;
/** A step of a clock by more than this is no correction of its pace. */
const STEP_MS = SECOND;
/** How often the database's clock is asked, and how long after a step nothing is dropped for its age. */
const ASKED_EVERY_MS = 10 * SECOND;
const UNSTEADY_MS = DAY;
/** Of so many answers the quickest one counts. */
const ASKED_TIMES = 3;

/** This machine's clock is wrong, or the database's. Starting must be refused. */
export class ClockOff extends Error {
  override readonly name = 'ClockOff';
}

export interface ClocksDeps {
  /** This machine's. */
  readonly machine: Clock;
  /** The database's clock, milliseconds since 1970. */
  readonly databaseTime: () => Promise<number>;
  /** Tells the other processes how far this machine's clock is ahead, and answers the same of them. */
  readonly exchange: (offsetMs: number) => Promise<readonly OtherClock[]>;
  /** The database's clock went back by so much. */
  readonly onBack: (ms: number) => Promise<void>;
  readonly log: Logger;
}

export interface Clocks {
  /**
   * The time by the database's clock, carried on by this machine's monotonic one. All processes have the same time, and
   * a jump of this machine's wall clock changes nothing.
   */
  readonly clock: Clock;
  /** How far this machine's clock is ahead of the database's, in milliseconds. */
  offsetMs(): number;
  /** A sentence for each clock that is more than a minute off. */
  problems(): readonly string[];
  /**
   * False for a day after time has jumped: nothing is dropped for its age then, and nothing is given up, since nobody
   * knows how old it really is.
   */
  steady(): boolean;
  /** Looks at the clocks; to be called every second. Asks the database every ten, or when this machine's has jumped. */
  look(): Promise<void>;
}

/** One comparison of clocks. The true time lies within `doubtMs` of it. */
interface Comparison {
  /** What is added to the monotonic clock to have the database's time. */
  readonly base: number;
  readonly offsetMs: number;
  readonly doubtMs: number;
}

/** Compares clocks before anything else is done with them. Rejects with ClockOff when they are more than a minute apart. */
export async function openClocks(deps: ClocksDeps): Promise<Clocks> {
  const { machine, log } = deps;
  const monotonic = () => machine.monotonic();
  let last = await compare(deps);
  if (isOff(last)) {
    throw new ClockOff(
      `This machine's clock is ${byHowMuch(last.offsetMs)} the database's, and they may be a minute apart at most: ` +
        'set the wrong one right, and let both follow a time server.',
    );
  }
  let base = last.base;
  let askedAt = Number.NEGATIVE_INFINITY;
  let pace = machine.now() - monotonic();
  let unsteadyUntil = Number.NEGATIVE_INFINITY;
  /** By how much the database's clock went back since `onBack` was last done. */
  let wentBackMs = 0;
  let others: readonly OtherClock[] = [];
  let said = '';

  async function look(): Promise<void> {
    const stepped = machine.now() - monotonic() - pace;
    if (Math.abs(stepped) > STEP_MS) {
      pace += stepped;
      log.warn({ stepMs: Math.round(stepped) }, "this machine's clock was set; Waybill goes by the database's");
    } else if (monotonic() - askedAt < ASKED_EVERY_MS) {
      return;
    }
    last = await compare(deps);
    askedAt = monotonic();
    follow(last);
    if (wentBackMs > 0) await deps.onBack(wentBackMs);
    wentBackMs = 0;
    others = await deps.exchange(last.offsetMs);
    say();
  }

  /** The agreed time goes on evenly while the database's clock does, too. */
  function follow({ base: measured, doubtMs }: Comparison): void {
    const stepMs = measured - base;
    if (Math.abs(stepMs) <= doubtMs + 1) return;
    base = measured;
    if (Math.abs(stepMs) <= doubtMs + STEP_MS) return;
    log.warn({ stepMs: Math.round(stepMs) }, "the database's clock was set, or this machine stood still");
    if (Math.abs(stepMs) > MOST_APART_MS) unsteadyUntil = monotonic() + UNSTEADY_MS;
    wentBackMs = Math.max(0, wentBackMs - stepMs);
  }

  function say(): void {
    const saying = problems().join(' ');
    if (saying !== said && saying !== '') log.warn(saying);
    said = saying;
  }

  function problems(): string[] {
    const own = isOff(last) ? [`this machine's clock is ${byHowMuch(last.offsetMs)} the database's`] : [];
    const apart = others.filter(({ offsetMs }) => Math.abs(last.offsetMs - offsetMs) - last.doubtMs > MOST_APART_MS);
    return [
      ...own,
      ...apart.map(
        ({ name, offsetMs }) => `this machine's clock is ${byHowMuch(last.offsetMs - offsetMs)} that of ${name}`,
      ),
    ];
  }

  return {
    clock: { now: () => Math.round(base + monotonic()), monotonic },
    offsetMs: () => last.offsetMs,
    problems,
    steady: () => monotonic() >= unsteadyUntil,
    look,
  };
}

/** Asks for the time and takes it for that of half the way; of several answers the quickest is the surest. */
async function compare({ machine, databaseTime }: ClocksDeps): Promise<Comparison> {
  const compared: Comparison[] = [];
  for (let i = 0; i < ASKED_TIMES; i++) {
    const asked = machine.monotonic();
    const wall = machine.now();
    const time = await databaseTime();
    const half = (machine.monotonic() - asked) / 2;
    compared.push({ base: time - asked - half, offsetMs: wall + half - time, doubtMs: half });
  }
  return compared.reduce((best, each) => (each.doubtMs < best.doubtMs ? each : best));
}

function isOff({ offsetMs, doubtMs }: Comparison): boolean {
  return Math.abs(offsetMs) - doubtMs > MOST_APART_MS;
}

function byHowMuch(offsetMs: number): string {
  return `${Math.round(Math.abs(offsetMs) / SECOND)} s ${offsetMs > 0 ? 'ahead of' : 'behind'}`;
}
