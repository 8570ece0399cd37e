import { MOST_BLAMED } from '../content/ladder.js';
import { type LadderPlace, TOP } from '../message/view.js';
import type { Crash } from './ports.js';

/**
 * What is known of mails whose like failed before, and which are being tried: the same bomb sent to fifty people kills
 * one child, not fifty. In memory, for the hot path asks for each mail; the database keeps it for the next process.
 */
export interface Crashes {
  /** Where a mail of this hash is to be tried. */
  placeOf(tenant: number, hash: Buffer): LadderPlace;
  note(crash: Crash): void;
  /** What other processes noted. */
  learn(crashes: readonly Crash[]): void;
  /** A person had one read further up, and it went well. */
  forget(tenant: number, hash: Buffer): void;
  /** Resolves when no mail of this hash is being tried, or at once for one whose like went well. */
  twinEnded(tenant: number, hash: Buffer): Promise<void> | null;
  /** A mail of this hash is being tried until that settles; `true` says that it went well. */
  trying(tenant: number, hash: Buffer, outcome: Promise<boolean>): void;
}

/** As far down as both: what one try found out holds beside what another did. */
export function furtherDown(one: LadderPlace, other: LadderPlace): LadderPlace {
  return {
    rung: Math.max(one.rung, other.rung),
    blamed: [...new Set([...one.blamed, ...other.blamed])].slice(0, MOST_BLAMED),
    deaths: Math.max(one.deaths, other.deaths),
    interruptions: one.rung >= other.rung ? one.interruptions : 0,
  };
}

/** How many hashes of each sort are remembered. */
const MOST = 10_000;

/** `keep` writes one down, `forgetOne` takes it back; either may fail, and then the next process does not know of it. */
export function createCrashes(
  known: readonly Crash[],
  keep: (crash: Crash) => void,
  forgetOne: (tenant: number, hash: Buffer) => void = () => undefined,
): Crashes {
  const places = new Map<string, LadderPlace>();
  const harmless = new Map<string, true>();
  const underWay = new Map<string, Promise<void>>();

  function keyOf(tenant: number, hash: Buffer): string {
    return `${tenant}.${hash.toString('latin1')}`;
  }

  function know({ tenant, hash, place }: Crash): void {
    const key = keyOf(tenant, hash);
    harmless.delete(key);
    const before = places.get(key);
    remember(places, key, furtherDown(before ?? TOP, place));
  }

  for (const crash of [...known].reverse()) know(crash);
  return {
    placeOf(tenant, hash) {
      const key = keyOf(tenant, hash);
      const place = places.get(key);
      if (place !== undefined) remember(places, key, place);
      return place ?? TOP;
    },
    note(crash) {
      know(crash);
      keep(crash);
    },
    learn(crashes) {
      for (const crash of crashes) know(crash);
    },
    forget(tenant, hash) {
      places.delete(keyOf(tenant, hash));
      forgetOne(tenant, hash);
    },
    twinEnded(tenant, hash) {
      const key = keyOf(tenant, hash);
      return harmless.has(key) ? null : (underWay.get(key) ?? null);
    },
    trying(tenant, hash, outcome) {
      const key = keyOf(tenant, hash);
      const ended = outcome.then(
        (well) => {
          if (underWay.get(key) === ended) underWay.delete(key);
          if (well && !places.has(key)) remember(harmless, key, true);
        },
        () => {
          if (underWay.get(key) === ended) underWay.delete(key);
        },
      );
      underWay.set(key, ended);
    },
  };
}

/** The one that was not asked for longest is forgotten. */
function remember<T>(map: Map<string, T>, key: string, value: T): void {
  map.delete(key);
  map.set(key, value);
  const [oldest] = map.keys();
  if (map.size > MOST && oldest !== undefined) map.delete(oldest);
}
