import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Calibration, calibrate, probabilityOf } from '../../../src/routing/learning/calibrate.js';
import { type Example, type Learning, learn } from '../../../src/routing/learning/learn.js';
import type { Lesson } from '../../../src/routing/learning/lesson.js';
import { atThreshold } from '../../../src/routing/learning/measure.js';
import { hashOf, type Model, openModel } from '../../../src/routing/learning/model.js';
import { exceeding } from '../../../src/routing/learning/readiness.js';
import { Vocabulary } from '../../../src/routing/learning/vocabulary.js';
import { priorOf, weightOf } from '../../../src/routing/learning/weight.js';
import { seeded } from '../../support/seeded.js';

interface Decided {
  readonly words: readonly string[];
  readonly chosen: readonly number[];
}

const lesson = (chosen: readonly number[]): Lesson => ({ chosen, refused: [], unsaid: [], othersRefused: true });

/** Learns from decisions in their order of time; gives them to the learner in another order, if one is given. */
function learnt(decisions: readonly Decided[], order: readonly number[] = [...decisions.keys()]): Learning {
  const vocabulary = new Vocabulary();
  const examples = order.map((at): Example => {
    const { words, chosen } = decisions[at] as Decided;
    return { features: vocabulary.number(words), lesson: lesson(chosen), at };
  });
  const running = learn(examples, vocabulary, 'salt');
  for (;;) {
    const step = running.next();
    if (step.done) return step.value;
  }
}

function probability(model: Model, words: readonly string[], target = 1): number {
  const score = openModel(model)
    .score(words)
    .find((one) => one.target === target);
  if (!score) throw new Error(`target ${target} was not learnt`);
  return score.probability;
}

const A = 1;
const B = 2;

describe('calibration', () => {
  /** Ten words that always come together: to naive Bayes ten witnesses, in truth one. */
  const wordsOfKind = (kind: number) => ['kind:mail', ...Array.from({ length: 10 }, (_, i) => `text:word${kind}-${i}`)];
  const TRUTH = [0.05, 0.3, 0.5, 0.7, 0.95];

  function drawn(seed: number, count: number): (Decided & { kind: number })[] {
    const random = seeded(seed);
    return Array.from({ length: count }, () => {
      const kind = random.below(TRUTH.length);
      return { kind, words: wordsOfKind(kind), chosen: random.next() < (TRUTH[kind] as number) ? [A] : [] };
    });
  }

  it.each([1, 2, 3])(
    'what is said with 0.7 happens seven times in ten, although words depend on each other (seed %i)',
    (seed) => {
      const { model } = learnt(drawn(seed, 4000));
      for (const [kind, truth] of TRUTH.entries()) {
        const said = probability(model, wordsOfKind(kind));
        expect(Math.abs(said - truth), `kind ${kind}: said ${said}, in truth ${truth}`).toBeLessThan(0.08);
      }
      // Without it naive Bayes would be sure of everything: the sum of its weights alone.
      const [target] = model.targets;
      const raw = probabilityOf({ slope: 1, offset: 0 }, 10 * Math.log(0.7 / 0.3));
      expect(raw).toBeGreaterThan(0.999);
      expect(target?.slope).toBeLessThan(0.3);
    },
  );

  it('the expected error of what is said of later decisions is below 0.05', () => {
    const { model } = learnt(drawn(4, 1500));
    const opened = openModel(model);
    const bins = new Map<number, { said: number; happened: number; count: number }>();
    const later = drawn(5, 4000);
    for (const { words, chosen } of later) {
      const said = opened.score(words)[0]?.probability ?? Number.NaN;
      const bin = bins.get(Math.floor(said * 10)) ?? { said: 0, happened: 0, count: 0 };
      bins.set(Math.floor(said * 10), bin);
      bin.said += said;
      bin.happened += chosen.length;
      bin.count++;
    }
    const error =
      [...bins.values()].reduce((sum, { said, happened }) => sum + Math.abs(said - happened), 0) / later.length;
    expect(error).toBeLessThan(0.05);
  });

  it('of chance nothing is learnt but how often it happens', () => {
    const random = seeded(9);
    const words = () => Array.from({ length: 20 }, () => `text:word${random.below(60)}`);
    const decisions = Array.from({ length: 600 }, () => ({
      words: [...new Set(words())],
      chosen: random.next() < 0.25 ? [A] : [],
    }));
    const { model } = learnt(decisions);
    const opened = openModel(model);
    const off = Array.from({ length: 500 }, () => Math.abs((opened.score(words())[0]?.probability ?? 1) - 0.25));
    expect(off.reduce((sum, one) => sum + one, 0) / off.length).toBeLessThan(0.05);
    expect(Math.max(...off)).toBeLessThan(0.25);
  });

  /** What a calibration by sums, each with whether it was chosen, comes to. */
  function fitted(points: readonly (readonly [sum: number, chosen: number])[]): Calibration {
    const side = (which: number) =>
      Float64Array.from(
        points.filter(([, chosen]) => chosen === which),
        ([sum]) => sum,
      );
    const running = calibrate(side(1), side(0));
    for (;;) {
      const step = running.next();
      if (step.done) return step.value;
    }
  }

  it('is finite and rises with the sum, whatever it is fitted to', () => {
    const point = fc.tuple(fc.double({ min: -1000, max: 1000, noNaN: true }), fc.constantFrom(0, 1));
    fc.assert(
      fc.property(
        fc.array(point, { maxLength: 80 }),
        fc.array(fc.double({ min: -1e6, max: 1e6, noNaN: true }), { minLength: 2 }),
        (points, sums) => {
          const calibration = fitted(points);
          expect(Number.isFinite(calibration.slope) && Number.isFinite(calibration.offset)).toBe(true);
          const said = sums.toSorted((a, b) => a - b).map((sum) => probabilityOf(calibration, sum));
          for (const [i, one] of said.entries()) {
            expect(one).toBeGreaterThanOrEqual(Math.max(0, said[i - 1] ?? 0));
            expect(one).toBeLessThanOrEqual(1);
          }
        },
      ),
    );
  });

  it('agrees with a fit by exhaustive search', () => {
    const sums = [-3, -2, -2, -1, 0, 0, 1, 1, 2, 3];
    const chosen = [0, 0, 1, 0, 0, 1, 1, 0, 1, 1];
    const { slope: foundSlope, offset: foundOffset } = fitted(sums.map((sum, i) => [sum, chosen[i] ?? 0]));
    const lossOf = (slope: number, offset: number) =>
      sums.reduce((loss, sum, i) => {
        const aim = chosen[i] === 1 ? 6 / 7 : 1 / 7;
        const p = probabilityOf({ slope, offset }, sum);
        return loss - aim * Math.log(p) - (1 - aim) * Math.log(1 - p);
      }, 0);
    let best = Number.POSITIVE_INFINITY;
    for (let slope = 0; slope < 3; slope += 0.01) {
      for (let offset = -2; offset < 2; offset += 0.01) best = Math.min(best, lossOf(slope, offset));
    }
    expect(lossOf(foundSlope, foundOffset)).toBeLessThanOrEqual(best + 1e-9);
  });
});

describe('what was learnt', () => {
  const word = fc.constantFrom(...Array.from('abcdefghij', (letter) => `text:${letter}`));
  const decided = fc.record({
    words: fc.uniqueArray(word, { maxLength: 6 }),
    chosen: fc.uniqueArray(fc.constantFrom(A, B), { maxLength: 2 }),
  });
  const history = fc.array(decided, { minLength: 12, maxLength: 60 });

  it('gives probabilities, and the same ones in whatever order it was learnt', () => {
    fc.assert(
      fc.property(history, fc.nat(), fc.uniqueArray(word), (decisions, seed, words) => {
        const straight = learnt(decisions);
        const shuffled = learnt(decisions, seeded(seed).shuffled([...decisions.keys()]));
        expect(shuffled).toEqual(straight);
        for (const { probability } of openModel(straight.model).score(words)) {
          expect(probability).toBeGreaterThanOrEqual(0);
          expect(probability).toBeLessThanOrEqual(1);
        }
      }),
    );
  });

  it('what speaks for a target never lowers its probability, what speaks against it never raises it', () => {
    // With one more they are eight, and so the evidence of each is shown.
    fc.assert(
      fc.property(history, fc.uniqueArray(word, { maxLength: 7 }), word, (decisions, words, more) => {
        const opened = openModel(learnt(decisions).model);
        const without = words.filter((one) => one !== more);
        for (const before of opened.explain(without)) {
          const after = opened.explain([...without, more]).find(({ target }) => target === before.target);
          const odds = after?.evidence.find(({ word: found }) => `text:${found}` === more)?.odds ?? 1;
          if (odds >= 1) expect(after?.probability).toBeGreaterThanOrEqual(before.probability);
          if (odds <= 1) expect(after?.probability).toBeLessThanOrEqual(before.probability);
        }
      }),
    );
  });

  it('explains exactly the score it gives: base odds times the odds of the evidence', () => {
    fc.assert(
      fc.property(history, fc.uniqueArray(word, { maxLength: 8 }), (decisions, words) => {
        const opened = openModel(learnt(decisions).model);
        expect(opened.explain(words).map(({ target, probability }) => ({ target, probability }))).toEqual(
          opened.score(words),
        );
        for (const { base, evidence, further, probability } of opened.explain(words)) {
          if (further > 0 || base <= 0.001 || base >= 0.999) continue;
          const odds = evidence.reduce((product, one) => product * one.odds, base / (1 - base));
          expect(odds / (1 + odds)).toBeCloseTo(probability, 2);
        }
      }),
    );
  });

  it('is plain JSON without a word of the messages', () => {
    const decisions = Array.from({ length: 30 }, (_, i) => ({
      words: ['from:secret@example.com', i % 2 === 0 ? 'text:confidential' : 'text:public'],
      chosen: i % 2 === 0 ? [A] : [],
    }));
    const { model } = learnt(decisions);
    const text = JSON.stringify(model);
    expect(JSON.parse(text)).toEqual(model);
    expect(text).not.toMatch(/secret|confidential|public/);
    expect(probability(JSON.parse(text) as Model, ['text:confidential'])).toBeGreaterThan(0.8);
    expect(probability(JSON.parse(text) as Model, ['text:public'])).toBeLessThan(0.2);
  });

  it('says in how many decisions a word was, and how many of those chose the target', () => {
    const decisions = Array.from({ length: 20 }, (_, i) => ({
      words: i < 10 ? ['subject:invoice', 'text:the'] : ['subject:news', 'text:the'],
      chosen: i < 9 ? [A] : [],
    }));
    const [score] = openModel(learnt(decisions).model).explain(['subject:invoice', 'text:the', 'text:unheard']);
    expect(score?.evidence).toEqual([
      { field: 'subject', word: 'invoice', odds: expect.any(Number), decisions: 10, chosen: 9 },
    ]);
    expect(score?.evidence[0]?.odds).toBeGreaterThan(1);
  });

  it('takes memory for what speaks for a target, not for all that speaks for others', () => {
    const words = Array.from({ length: 20_000 }, (_, i) => `text:word${i}`);
    const model: Model = {
      format: 1,
      salt: 'salt',
      features: words.map((word) => hashOf('salt', word)),
      targets: Array.from({ length: 200 }, (_, i) => ({
        target: 200 - i,
        yes: 10,
        no: 10,
        slope: 1,
        offset: 0,
        features: [i, i + 1],
        withYes: [9, 1],
        withNo: [1, 4],
      })),
    };
    const before = process.memoryUsage().arrayBuffers;
    const opened = openModel(model);
    // A number for each of both would be 32 MB.
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1_000_000);
    const asked = ['text:word1', 'text:unheard', 'text:word2'];
    const prior = priorOf(10, 10);
    const [likely, unlikely] = [weightOf(9, 1, prior), weightOf(1, 4, prior)];
    const sums = new Map([
      [200, unlikely],
      [199, likely + unlikely],
      [198, likely],
    ]);
    const scores = opened.score(asked);
    expect(scores.map(({ target }) => target)).toEqual(Array.from({ length: 200 }, (_, i) => i + 1));
    for (const { target, probability } of scores) {
      expect(probability).toBeCloseTo(probabilityOf({ slope: 1, offset: 0 }, sums.get(target) ?? 0), 4);
    }
    const explained = opened.explain(asked);
    expect(explained.map(({ target, probability }) => ({ target, probability }))).toEqual(scores);
    expect(explained[198]?.evidence.map(({ word, chosen, decisions }) => [word, chosen, decisions])).toEqual(
      expect.arrayContaining([
        ['word1', 9, 10],
        ['word2', 1, 5],
      ]),
    );
  });

  it('1.4 with learnt scores: what went to both seven times in ten exceeds 0.6 and not 0.8', () => {
    const decisions = Array.from({ length: 200 }, (_, i) =>
      i % 2 === 0
        ? { words: ['type:order', 'kind:event'], chosen: (i / 2) % 10 < 7 ? [A, B] : [] }
        : { words: ['type:noise', 'kind:event'], chosen: [] },
    );
    const { model } = learnt(decisions);
    const scores = openModel(model).score(['type:order', 'kind:event']);
    for (const score of scores) expect(Math.abs(score.probability - 0.7)).toBeLessThan(0.05);
    const thresholds = new Map([
      [A, 0.6],
      [B, 0.8],
    ]);
    const asked = scores.map((score) => ({ ...score, threshold: thresholds.get(score.target) ?? 1 }));
    expect(exceeding(asked)).toEqual([A]);
    const noise = openModel(model).score(['type:noise', 'kind:event']);
    expect(exceeding(noise.map((score) => ({ ...score, threshold: 0.6 })))).toEqual([]);
  });

  it('is measured by the newest quarter alone, judged by what the rest had taught', () => {
    // What the older decisions teach is wrong of the newer ones: nobody who had seen those would say so.
    const decisions = Array.from({ length: 100 }, (_, i) => {
      const order = i % 2 === 0;
      return { words: [order ? 'type:order' : 'type:noise'], chosen: order === i < 75 ? [A] : [] };
    });
    const [measure] = learnt(decisions).measures;
    if (!measure?.measured) throw new Error('not measured');
    expect(measure).toMatchObject({ target: A, yes: 38 + 13, no: 37 + 12, learnt: true });
    expect(atThreshold(measure.measured, 0.5)).toMatchObject({
      sent: 12,
      right: 0,
      wanted: 13,
      precision: 0,
      recall: 0,
    });
  });

  it('of a target with too few decisions only the counts are kept', () => {
    const decisions = Array.from({ length: 30 }, (_, i) => ({ words: ['a:b'], chosen: i < 2 ? [A] : [B] }));
    const { model, measures } = learnt(decisions);
    expect(model.targets).toEqual([]);
    expect(measures).toEqual([
      { target: B, yes: 28, no: 2, learnt: false, measured: null },
      { target: A, yes: 2, no: 28, learnt: false, measured: null },
    ]);
    expect(learnt([]).measures).toEqual([]);
  });
});

describe('weights', () => {
  it('what was never seen, or once, says nothing; what is as the average says nothing', () => {
    expect(weightOf(0, 0, 0.3)).toBe(0);
    expect(weightOf(1, 0, 0.3)).toBe(0);
    expect(weightOf(30, 70, 0.3)).toBe(0);
  });

  it('rises with decisions for the target, falls with those against it', () => {
    const count = fc.integer({ min: 1, max: 1000 });
    fc.assert(
      fc.property(count, count, count, count, (yes, no, allYes, allNo) => {
        const prior = priorOf(allYes, allNo);
        expect(weightOf(yes + 1, no, prior)).toBeGreaterThanOrEqual(weightOf(yes, no, prior));
        expect(weightOf(yes, no + 1, prior)).toBeLessThanOrEqual(weightOf(yes, no, prior));
      }),
    );
  });
});
