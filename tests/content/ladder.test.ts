import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { FailureKind } from '../../src/content/content.js';
import { EVERYTHING, FEATURES } from '../../src/content/features.js';
import { DEFAULT_LADDER, type Ladder, RUNGS, type RungName } from '../../src/content/index.js';
import {
  afterFailure,
  afterInterruptions,
  type Blame,
  isPoison,
  levelOf,
  MOST_BLAMED,
  MOST_DEATHS,
} from '../../src/content/ladder.js';
import { STAGES } from '../../src/content/stages.js';
import { type LadderPlace, TOP } from '../../src/message/view.js';

type Own = Exclude<FailureKind, 'unavailable'>;

const DEATHS = ['crashed', 'killed_time', 'killed_memory', 'output_too_large'] as const;
const MIDDLE = (Object.keys(RUNGS) as RungName[]).filter((name) => name !== 'full' && name !== 'poison');

const ladders: fc.Arbitrary<Ladder> = fc.shuffledSubarray(MIDDLE).map((names) => ['full', ...names, 'poison']);
const stages = fc.constantFrom(...STAGES, 'queued' as const);
const leaves = fc.option(fc.integer({ min: 1, max: 4 }));
const blames: fc.Arbitrary<Blame> = fc.record({ stage: stages, leaf: leaves });
const deaths = fc.constantFrom<Own>(...DEATHS);
const failures = fc.record({ failure: fc.constantFrom<Own>(...DEATHS, 'refused'), blame: blames });

const nameOf = (place: LadderPlace, ladder = DEFAULT_LADDER) => ladder[place.rung];
const at = (name: RungName, ladder = DEFAULT_LADDER): LadderPlace => ({ ...TOP, rung: ladder.indexOf(name) });
/** After a death in a stage that no part is to blame for. */
const downFrom = (from: RungName, stage: Blame['stage'], ladder = DEFAULT_LADDER) =>
  nameOf(afterFailure(at(from, ladder), 'crashed', { stage, leaf: null }, ladder), ladder);

describe('the ladder', () => {
  it('has twelve rungs', () => {
    expect(DEFAULT_LADDER).toEqual([
      'full',
      'blamed',
      'plain',
      'tnef',
      'calendar',
      'nested',
      'files',
      'html',
      'text',
      'headers',
      'envelope',
      'poison',
    ]);
  });

  it('reads everything on its first rung', () => {
    expect(levelOf(DEFAULT_LADDER, TOP)).toBe(EVERYTHING);
  });

  it('leaves out on each rung what those above it do, and something of its own', () => {
    const levels = DEFAULT_LADDER.map((name) => levelOf(DEFAULT_LADDER, at(name)));
    expect(levels.map(({ reader, without }) => [reader, [...without].join(' ')])).toEqual([
      ['whole', ''],
      ['whole', ''],
      ['whole', 'reflow html_text'],
      ['whole', 'reflow html_text tnef'],
      ['whole', 'reflow html_text tnef calendar'],
      ['whole', 'reflow html_text tnef calendar nested report'],
      ['whole', 'reflow html_text tnef calendar nested report files'],
      ['whole', FEATURES.join(' ')],
      ['text', FEATURES.join(' ')],
      ['headers', FEATURES.join(' ')],
      ['envelope', FEATURES.join(' ')],
      ['nothing', FEATURES.join(' ')],
    ]);
  });

  it('knows on each rung what is blamed', () => {
    for (const name of DEFAULT_LADDER) {
      expect(levelOf(DEFAULT_LADDER, { ...at(name), blamed: [3, 1] }).blamed).toEqual(new Set([1, 3]));
    }
  });

  it('reads no more on any rung than on those above, in whatever order they stand', () => {
    const order = ['whole', 'text', 'headers', 'envelope', 'nothing'];
    fc.assert(
      fc.property(ladders, (ladder) => {
        for (let rung = 1; rung < ladder.length; rung++) {
          const [above, here] = [
            levelOf(ladder, { rung: rung - 1, blamed: [] }),
            levelOf(ladder, { rung, blamed: [] }),
          ];
          expect(order.indexOf(here.reader)).toBeGreaterThanOrEqual(order.indexOf(above.reader));
          for (const feature of above.without) expect(here.without).toContain(feature);
        }
      }),
    );
  });

  it('ends in poison alone', () => {
    fc.assert(
      fc.property(ladders, (ladder) => {
        expect(ladder.map((_, rung) => isPoison(rung, ladder))).toEqual(ladder.map((name) => name === 'poison'));
      }),
    );
  });
});

describe('a death', () => {
  it.each<[Blame['stage'], RungName]>([
    ['headers', 'envelope'],
    ['structure', 'headers'],
    ['checks', 'text'],
    ['body', 'html'],
    ['reflow', 'plain'],
    ['html_text', 'plain'],
    ['file', 'files'],
    ['tnef', 'tnef'],
    ['calendar', 'calendar'],
    ['nested', 'nested'],
    ['report', 'nested'],
    ['first_text', 'headers'],
  ])('in %s costs what the rung %s leaves out', (stage, rung) => {
    expect(downFrom('full', stage)).toBe(rung);
  });

  it.each(['queued', 'begun', 'answer', 'safe_html'] as const)('in %s goes down a short list', (stage) => {
    const rungs: RungName[] = ['full'];
    while (rungs.at(-1) !== 'poison') rungs.push(downFrom(rungs.at(-1) as RungName, stage) as RungName);
    expect(rungs).toEqual(['full', 'files', 'text', 'headers', 'envelope', 'poison']);
  });

  it.each<[RungName, Blame['stage'], RungName]>([
    ['html', 'body', 'text'],
    ['text', 'body', 'headers'],
    ['plain', 'reflow', 'files'],
    ['files', 'tnef', 'text'],
    ['headers', 'headers', 'envelope'],
    ['envelope', 'headers', 'poison'],
  ])('on the rung %s in %s, which it should have left out, goes on to %s', (from, stage, rung) => {
    expect(downFrom(from, stage)).toBe(rung);
  });

  it.each(DEATHS)('is counted, and begins the count of interruptions anew: %s', (failure) => {
    const place = { rung: 2, blamed: [1], deaths: 2, interruptions: 2 };
    expect(afterFailure(place, failure, { stage: 'tnef', leaf: 1 }, DEFAULT_LADDER)).toEqual({
      rung: DEFAULT_LADDER.indexOf('tnef'),
      blamed: [1],
      deaths: 3,
      interruptions: 0,
    });
  });

  it.each(['body', 'reflow', 'file', 'tnef', 'calendar', 'nested', 'report'] as const)(
    'in the %s of a part is first blamed on that part alone',
    (stage) => {
      expect(afterFailure(TOP, 'killed_time', { stage, leaf: 3 }, DEFAULT_LADDER)).toEqual({
        rung: DEFAULT_LADDER.indexOf('blamed'),
        blamed: [3],
        deaths: 1,
        interruptions: 0,
      });
    },
  );

  it.each(['headers', 'structure', 'checks', 'html_text', 'first_text', 'answer'] as const)(
    'in %s is blamed on no part',
    (stage) => {
      expect(afterFailure(TOP, 'crashed', { stage, leaf: 3 }, DEFAULT_LADDER).blamed).toEqual([]);
    },
  );

  it('is blamed on few parts one by one, and then on all of their kind', () => {
    let place: LadderPlace = TOP;
    for (let leaf = 1; leaf <= MOST_BLAMED; leaf++) {
      place = afterFailure(place, 'crashed', { stage: 'file', leaf }, DEFAULT_LADDER);
      expect(nameOf(place)).toBe('blamed');
    }
    expect(place.blamed).toHaveLength(MOST_BLAMED);
    const last = afterFailure(place, 'crashed', { stage: 'file', leaf: MOST_BLAMED + 1 }, DEFAULT_LADDER);
    expect(last).toMatchObject({ rung: DEFAULT_LADDER.indexOf('files'), blamed: place.blamed });
  });

  it('in a part that is blamed already is not blamed on it again', () => {
    const place = { ...at('blamed'), blamed: [2] };
    const next = afterFailure(place, 'crashed', { stage: 'calendar', leaf: 2 }, DEFAULT_LADDER);
    expect(next).toMatchObject({ rung: DEFAULT_LADDER.indexOf('calendar'), blamed: [2] });
  });

  it('is blamed on a part further down as well, without a climb', () => {
    const next = afterFailure(at('nested'), 'crashed', { stage: 'file', leaf: 2 }, DEFAULT_LADDER);
    expect(next).toMatchObject({ rung: DEFAULT_LADDER.indexOf('nested'), blamed: [2] });
  });

  it('is blamed on no part where the ladder has no rung for that', () => {
    const ladder: Ladder = ['full', 'files', 'poison'];
    expect(afterFailure(TOP, 'crashed', { stage: 'file', leaf: 2 }, ladder)).toMatchObject({ rung: 1, blamed: [] });
  });

  it('is the last one when so many died', () => {
    const place = { ...TOP, deaths: MOST_DEATHS - 1 };
    const next = afterFailure(place, 'crashed', { stage: 'reflow', leaf: 1 }, DEFAULT_LADDER);
    expect(next).toMatchObject({ deaths: MOST_DEATHS, blamed: [] });
    expect(isPoison(next.rung, DEFAULT_LADDER)).toBe(true);
  });
});

describe('a refusal', () => {
  const refused = (place: LadderPlace, ladder = DEFAULT_LADDER) =>
    afterFailure(place, 'refused', { stage: 'structure', leaf: null }, ladder);

  it('goes to where attachments are only named, and counts as no death', () => {
    const place = { ...at('plain'), blamed: [1], deaths: 2, interruptions: 1 };
    expect(refused(place)).toEqual({ ...place, rung: DEFAULT_LADDER.indexOf('files'), interruptions: 0 });
  });

  it('goes down the short list from there', () => {
    expect(
      ['files', 'html', 'text', 'headers', 'envelope'].map((name) => nameOf(refused(at(name as RungName)))),
    ).toEqual(['text', 'text', 'headers', 'envelope', 'poison']);
  });

  it('goes to the last rung where the ladder has none of these', () => {
    expect(refused(TOP, ['full', 'tnef', 'poison'])).toMatchObject({ rung: 2 });
  });
});

describe('an interruption', () => {
  it('is taken for chance twice, and costs something the third time', () => {
    const places = [0, 1, 2, 3].map((interruptions) => ({ ...at('blamed'), blamed: [2], deaths: 1, interruptions }));
    const next = places.map((place) => afterInterruptions(place, DEFAULT_LADDER));
    expect(next.slice(0, 3)).toEqual(places.slice(0, 3));
    expect(next[3]).toEqual({ rung: DEFAULT_LADDER.indexOf('files'), blamed: [2], deaths: 1, interruptions: 0 });
  });

  it('repeated often enough ends in poison', () => {
    const rungs: (RungName | undefined)[] = [];
    let place: LadderPlace = TOP;
    while (!isPoison(place.rung, DEFAULT_LADDER)) {
      place = afterInterruptions({ ...place, interruptions: 3 }, DEFAULT_LADDER);
      rungs.push(nameOf(place));
    }
    expect(rungs).toEqual(['files', 'text', 'headers', 'envelope', 'poison']);
  });
});

describe('the order of the ladder', () => {
  it('says what goes first', () => {
    const htmlFirst: Ladder = ['full', 'html', 'files', 'text', 'headers', 'poison'];
    const filesFirst: Ladder = ['full', 'files', 'html', 'text', 'headers', 'poison'];
    const without = (ladder: Ladder, stage: Blame['stage']) => {
      const place = afterFailure(TOP, 'crashed', { stage, leaf: null }, ladder);
      return [...levelOf(ladder, place).without];
    };
    expect(without(htmlFirst, 'body')).toEqual(['html']);
    expect(without(filesFirst, 'body')).toEqual(['files', 'html']);
    expect(without(htmlFirst, 'file')).toEqual(['html', 'files']);
    expect(without(filesFirst, 'file')).toEqual(['files']);
  });

  it('says to which remedy a stage goes first', () => {
    expect(downFrom('full', 'body', ['full', 'text', 'html', 'poison'])).toBe('text');
    expect(downFrom('full', 'begun', ['full', 'headers', 'files', 'poison'])).toBe('headers');
  });
});

describe('any sequence of failures', () => {
  it('never climbs, never blames a part twice nor too many, and ends in poison after few deaths', () => {
    fc.assert(
      fc.property(ladders, fc.infiniteStream(failures), (ladder, stream) => {
        let place: LadderPlace = TOP;
        let died = 0;
        for (const { failure, blame } of stream) {
          if (isPoison(place.rung, ladder)) break;
          const next = afterFailure(place, failure, blame, ladder);
          if (failure !== 'refused') died++;
          expect(next.deaths).toBe(died);
          expect(next.rung).toBeGreaterThanOrEqual(place.rung);
          expect(next.blamed.slice(0, place.blamed.length)).toEqual(place.blamed);
          expect(next.rung > place.rung || next.blamed.length > place.blamed.length).toBe(true);
          expect(new Set(next.blamed).size).toBe(next.blamed.length);
          expect(next.blamed.length).toBeLessThanOrEqual(MOST_BLAMED);
          place = next;
        }
        expect(died).toBeLessThanOrEqual(MOST_DEATHS);
        expect(MOST_DEATHS).toBe(6);
      }),
      { numRuns: 1_000 },
    );
  });

  it('mixed with interruptions never climbs, and ends', () => {
    const steps = fc.oneof(failures, fc.constant('interrupted' as const));
    fc.assert(
      fc.property(ladders, fc.infiniteStream(steps), (ladder, stream) => {
        let place: LadderPlace = TOP;
        let steps = 0;
        for (const step of stream) {
          if (isPoison(place.rung, ladder)) break;
          const next =
            step === 'interrupted'
              ? afterInterruptions({ ...place, interruptions: place.interruptions + 1 }, ladder)
              : afterFailure(place, step.failure, step.blame, ladder);
          expect(next.rung).toBeGreaterThanOrEqual(place.rung);
          expect(next.deaths).toBeLessThanOrEqual(MOST_DEATHS);
          place = next;
          steps++;
        }
        expect(steps).toBeLessThanOrEqual(3 * (ladder.length + MOST_BLAMED));
      }),
      { numRuns: 1_000 },
    );
  });

  it('leaves out what died: the same stage does not happen to the same part again', () => {
    fc.assert(
      fc.property(deaths, fc.integer({ min: 1, max: 9 }), (failure, leaf) => {
        for (const [stage, feature] of [
          ['reflow', 'reflow'],
          ['tnef', 'tnef'],
          ['calendar', 'calendar'],
          ['nested', 'nested'],
          ['report', 'report'],
          ['file', 'files'],
        ] as const) {
          const { blamed, without } = levelOf(
            DEFAULT_LADDER,
            afterFailure(TOP, failure, { stage, leaf }, DEFAULT_LADDER),
          );
          expect(blamed.has(leaf) || without.has(feature)).toBe(true);
        }
      }),
    );
  });
});
