/** How a sum of weights becomes a probability: 1 / (1 + exp(-(slope × sum + offset))). The slope is never negative. */
export interface Calibration {
  readonly slope: number;
  readonly offset: number;
}

function sigmoid(x: number): number {
  // Each branch takes the exponential of a negative number, which can't overflow.
  return x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x));
}

export function probabilityOf({ slope, offset }: Calibration, sum: number): number {
  return sigmoid(slope * sum + offset);
}

/**
 * Platt's scaling: naive Bayes takes words that come together for independent witnesses and is too sure of itself, so what its
 * sums are worth is fitted to how decisions really went. The sums, of decisions that chose the target and that did not, must
 * come from decisions that were left out of the weights. By Newton's method with the improvements of Lin, Lin and Weng, "A
 * note on Platt's probabilistic outputs for support vector machines", Machine Learning 68 (2007); the answers it aims at are
 * a little inside 0 and 1, which keeps few decisions modest. Yields between its steps, of a millisecond or so.
 */
export function* calibrate(yes: Float64Array, no: Float64Array): Generator<void, Calibration, void> {
  const sides = [
    { sums: yes, aim: (yes.length + 1) / (yes.length + 2) },
    { sums: no, aim: 1 / (no.length + 2) },
  ];
  const chance = { slope: 0, offset: Math.log((yes.length + 1) / (no.length + 1)) };
  let best: Calibration = chance;
  let loss = lossOf(sides, best);
  for (let step = 0; step < MOST_STEPS; step++) {
    yield;
    const direction = newtonStep(sides, best);
    if (!direction) break;
    const { slope, offset, descent } = direction;
    let size = 1;
    for (; size >= LEAST_SIZE; size /= 2) {
      const tried = { slope: best.slope + size * slope, offset: best.offset + size * offset };
      const triedLoss = lossOf(sides, tried);
      if (triedLoss >= loss + ENOUGH * size * descent) continue;
      best = tried;
      loss = triedLoss;
      break;
    }
    if (size < LEAST_SIZE) break;
  }
  // Sums that tell the wrong way round tell nothing: what is left is how often the target was chosen at all.
  return best.slope > 0 && Number.isFinite(best.offset) ? best : chance;
}

interface Side {
  readonly sums: Float64Array;
  /** What is to be said of them. */
  readonly aim: number;
}

const MOST_STEPS = 100;
const GRADIENT_SMALL = 1e-6;
/** Of a step that is cut down until it helps. */
const LEAST_SIZE = 1e-10;
/** Share of the promised descent that a step must bring. */
const ENOUGH = 0.0001;
const RIDGE = 1e-12;

/** Cross entropy. */
function lossOf(sides: readonly Side[], { slope, offset }: Calibration): number {
  let loss = 0;
  for (const { sums, aim } of sides) {
    for (const sum of sums) {
      const x = slope * sum + offset;
      // -(aim × ln p + (1 - aim) × ln (1 - p)), without overflow.
      loss += (x >= 0 ? (1 - aim) * x : -aim * x) + Math.log1p(Math.exp(-Math.abs(x)));
    }
  }
  return loss;
}

/** Where to go from here, and how steeply it goes down there; null at the bottom. */
function newtonStep(
  sides: readonly Side[],
  { slope, offset }: Calibration,
): (Calibration & { readonly descent: number }) | null {
  let [bySlope, byOffset] = [0, 0];
  let [slopeSlope, offsetOffset, slopeOffset] = [RIDGE, RIDGE, 0];
  for (const { sums, aim } of sides) {
    for (const sum of sums) {
      const p = sigmoid(slope * sum + offset);
      bySlope += sum * (p - aim);
      byOffset += p - aim;
      const curve = p * (1 - p);
      slopeSlope += sum * sum * curve;
      offsetOffset += curve;
      slopeOffset += sum * curve;
    }
  }
  if (Math.abs(bySlope) < GRADIENT_SMALL && Math.abs(byOffset) < GRADIENT_SMALL) return null;
  const determinant = slopeSlope * offsetOffset - slopeOffset * slopeOffset;
  const toSlope = -(offsetOffset * bySlope - slopeOffset * byOffset) / determinant;
  const toOffset = -(slopeSlope * byOffset - slopeOffset * bySlope) / determinant;
  return { slope: toSlope, offset: toOffset, descent: bySlope * toSlope + byOffset * toOffset };
}
